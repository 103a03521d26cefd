"""What the DAG folder holds, exactly: ids, queues, pools, edges, params."""

import copy
import json
import subprocess
import sys

import pytest
from airflow.exceptions import AirflowClusterPolicyViolation
from airflow.sdk.exceptions import ParamValidationError

from darkroom.flows import FLOWS, STAGES, queues
from darkroom.orchestration import policies
from darkroom.orchestration.dag_docs import page
from darkroom.settings import REPOSITORY

GROUPS = {
    "a.generate": set(),
    "a_c.generate": {"a_c.inspect"},
    "a_c.inspect": set(),
    "b_c.enhance": {"b_c.inspect"},
    "b_c.inspect": set(),
}
LAST = {"a.generate", "a_c.inspect", "b_c.inspect"}
FIRST = {"a.generate", "a_c.generate", "b_c.enhance"}
CHILDREN = {
    "respin.leftovers": {"respin.start", "respin.wait"},
    "respin.start": {"respin.wait"},
    "run_shards.list_shards": {"run_shards.start", "run_shards.wait"},
    "run_shards.start": {"run_shards.wait"},
    "run_shards.wait": {"collect"},
}


def edges(dag):
    return {task.task_id: set(task.downstream_task_ids) for task in dag.tasks}


def expected(first_task, after_collect, tail):
    after_group = {task: {"collect"} for task in LAST}
    groups = {task: downstream | after_group.get(task, set()) for task, downstream in GROUPS.items()}
    return {
        first_task: {"choose_flow", *GROUPS},
        "choose_flow": {*FIRST, "run_shards.list_shards", "collect"},
        **groups,
        "collect": after_collect,
        **CHILDREN,
        **tail,
    }


def test_the_folder_holds_exactly_these_dags(dags):
    assert set(dags) == {"image_flow", "shard_flow"}


def test_image_flow_has_exactly_these_edges(dags):
    tail = {"respin.wait": {"deliver"}, "deliver": {"verdict"}, "verdict": set()}
    assert edges(dags["image_flow"]) == expected("plan", {"respin.leftovers", "deliver"}, tail)


def test_shard_flow_has_exactly_these_edges(dags):
    tail = {"wait_for_turn": {"take_chunks"}, "respin.wait": set()}
    assert edges(dags["shard_flow"]) == expected("take_chunks", {"respin.leftovers"}, tail)


@pytest.mark.parametrize("dag_id", ["image_flow", "shard_flow"])
def test_each_stage_runs_on_its_queue_and_in_its_pool_and_the_rest_on_default(dags, dag_id):
    for task in dags[dag_id].tasks:
        stage = STAGES.get(task.task_id.rpartition(".")[2])
        wanted = (stage.queue, stage.pool) if stage else ("default", "default_pool")
        assert (task.queue, task.pool) == wanted, task.task_id
        assert task.queue in queues()


def test_every_flow_has_a_mapped_group_with_its_stages_in_order(dags):
    groups = dags["image_flow"].task_group.get_task_group_dict()
    for flow in FLOWS.values():
        assert set(groups[flow.group_id].children) == {f"{flow.group_id}.{stage}" for stage in flow.stages}


def test_a_chunk_that_is_further_along_weighs_more(dags):
    dag = dags["image_flow"]
    assert dag.get_task("a_c.inspect").priority_weight > dag.get_task("a_c.generate").priority_weight


def test_each_chunk_has_its_stages_timeout_and_its_tries(dags):
    for task in dags["image_flow"].tasks:
        if stage := STAGES.get(task.task_id.rpartition(".")[2]):
            assert task.execution_timeout.total_seconds() == stage.chunk_timeout_s
            assert task.retries == 4


class _Task:
    def __init__(self, task_id, queue):
        self.task_id, self.queue, self.pool, self.priority_weight = task_id, queue, "default_pool", 1


def test_a_task_on_a_queue_without_a_worker_is_refused():
    with pytest.raises(AirflowClusterPolicyViolation, match=r"gpu\.genrate.*known queues"):
        policies.task_policy(_Task("mine", "gpu.genrate"))


def test_a_task_named_after_a_stage_is_routed_whatever_it_asked_for():
    task = _Task("my_group.inspect", "default")
    policies.task_policy(task)
    assert (task.queue, task.pool) == ("gpu.inspect", "gpu_inspect")


@pytest.mark.parametrize(
    ("priority", "weight"), [("bulk", 1), ("normal", 101), ("interactive", 201), (None, 101)]
)
def test_the_priority_of_a_run_weighs_its_tasks(priority, weight):
    run = type("Run", (), {"conf": {"priority": priority} if priority else None})()
    instance = type("TI", (), {"task": _Task("plan", "default"), "priority_weight": 1})()
    policies.task_instance_mutation_hook(instance, run)
    assert instance.priority_weight == weight


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flow", "C_A"),
        ("source", ""),
        ("batch_id", "../etc"),
        ("options", {"generate": {"steps": 1000}}),
        ("options", {"paint": {}}),
        ("options", {"inspect": {"max_nfsw": 0.5}}),
        ("max_failed_ratio", 1.5),
        ("respins", 6),
        ("respins", 0.5),
        ("priority", "urgent"),
    ],
)
def test_a_bad_value_is_refused_when_the_run_is_triggered(dags, name, value):
    params = copy.deepcopy(dags["image_flow"].params)
    with pytest.raises(ParamValidationError):
        params[name] = value
        params.validate()


def test_the_defaults_of_the_form_are_valid(dags):
    assert dags["image_flow"].params.validate()["flow"] == "A_C"


def test_parsing_imports_nothing_heavy():
    code = """
import json, sys
from darkroom.orchestration.dag_docs import load_dags
from darkroom.settings import REPOSITORY
load_dags(REPOSITORY / "dags")
heavy = ("torch", "onnxruntime", "pyarrow", "numpy", "PIL")
print("LOADED", json.dumps([module for module in heavy if module in sys.modules]))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    line = next(line for line in out.splitlines() if line.startswith("LOADED"))
    assert json.loads(line.removeprefix("LOADED")) == []


def test_the_docs_of_the_dags_are_current(dags):
    assert (REPOSITORY / "docs" / "dags.md").read_text() == page(dags), "run: make docs"
