"""The example of docs/how-to/bring-a-model.md in the DAGs, in a process that reads its rows at import."""

import json
import os
import subprocess
import sys

import pytest

from darkroom.settings import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "custom"
CODE = """
import json
from darkroom.orchestration.dag_docs import load_dags
from darkroom.settings import REPOSITORY
dags = load_dags(REPOSITORY / "dags")
dag = dags["image_flow"]
params = {name: param.schema | {"description_md": param.schema.get("description_md", "")}
          for name, param in ((name, dag.params.get_param(name)) for name in ("flow", "options"))}
print("FOUND", json.dumps({
    "groups": {dag_id: sorted(dag.task_group.get_task_group_dict()["a_s"].children)
               for dag_id, dag in dags.items() if dag_id in ("image_flow", "shard_flow")},
    "tasks": {task.task_id: [task.queue, task.pool, sorted(task.downstream_task_ids)] for task in dag.tasks},
    "params": params,
}))
"""


@pytest.fixture(scope="module")
def found():
    """What the DAGs look like with the example's `darkroom.toml`."""
    own = {"DARKROOM_CONFIG": str(EXAMPLE / "darkroom.toml"), "DARKROOM_CODE": str(EXAMPLE)}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=os.environ | own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    return json.loads(line.removeprefix("FOUND "))


def test_each_dag_that_runs_chunks_has_a_group_of_the_own_flow(found):
    assert found["groups"] == {
        "image_flow": ["a_s.generate", "a_s.sepia"],
        "shard_flow": ["a_s.generate", "a_s.sepia"],
    }


def test_the_stages_stand_one_behind_the_other_before_collect(found):
    assert found["tasks"]["a_s.generate"][2] == ["a_s.sepia"]
    assert found["tasks"]["a_s.sepia"][2] == ["collect"]


def test_queue_and_pool_follow_from_the_name(found):
    assert found["tasks"]["a_s.sepia"][:2] == ["gpu.sepia", "gpu_sepia"]
    assert found["tasks"]["a_s.generate"][:2] == ["gpu.generate", "gpu_generate"]


def test_the_form_offers_the_flow_and_the_options(found):
    assert "A_S" in found["params"]["flow"]["enum"]
    options = found["params"]["options"]["properties"]["sepia"]
    strength = options["properties"]["strength"]
    assert (strength["minimum"], strength["maximum"], strength["default"]) == (0, 1, 1.0)
    assert options["additionalProperties"] is False
    assert "**sepia.strength** (0 to 1, default 1.0)" in found["params"]["options"]["description_md"]
