"""What the DAG folder holds, exactly: ids, queues, pools, edges, params."""

import copy
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from uuid import uuid4

import pytest
from airflow import settings as airflow_settings
from airflow.exceptions import AirflowClusterPolicyViolation
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.sdk.definitions.context import _AIRFLOW_PARSING_CONTEXT_TASK_ID
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.types import DagRunType

from darkroom.flows import FLOWS, STAGES, queues
from darkroom.orchestration import policies
from darkroom.orchestration.dag_docs import page
from darkroom.orchestration.defaults import start_params
from darkroom.settings import REPOSITORY
from darkroom.stack.credentials import Credentials
from darkroom.stack.home import Home
from darkroom.stack.layout import Stack
from darkroom.stack.parts import parts
from darkroom.stack.ports import usual_ports

GROUPS = {
    "a.generate": set(),
    "a_c.generate": {"a_c.inspect"},
    "a_c.inspect": set(),
    "b_c.enhance": {"b_c.inspect"},
    "b_c.inspect": set(),
}
FIRST = {"a.generate", "a_c.generate", "b_c.enhance"}
LAST = {"a.generate", "a_c.inspect", "b_c.inspect"}
CHILDREN = {
    "respin.leftovers": {"respin.start", "respin.wait"},
    "respin.start": {"respin.wait"},
    "run_shards": {"collect"},
}


def edges(dag):
    return {task.task_id: set(task.downstream_task_ids) for task in dag.tasks}


def expected(first_task, after_collect, tail):
    after_group = {task: {"collect"} for task in LAST}
    groups = {task: downstream | after_group.get(task, set()) for task, downstream in GROUPS.items()}
    return {
        first_task: {*FIRST, "run_shards", "collect"},
        **groups,
        "collect": after_collect,
        **CHILDREN,
        **tail,
    }


def test_the_folder_holds_exactly_these_dags(dags):
    assert set(dags) == {
        "image_flow",
        "shard_flow",
        "daily_flow",
        "callback_flow",
        "housekeeping",
        "pages_flow",
    }


def test_image_flow_has_exactly_these_edges(dags):
    tail = {
        "respin.wait": {"verdict"},
        "verdict": {"then.route", "then.start"},
        "then.route": {"then.start"},
        "then.start": set(),
    }
    assert edges(dags["image_flow"]) == expected("plan", {"respin.leftovers", "respin.wait", "verdict"}, tail)


def test_shard_flow_has_exactly_these_edges(dags):
    tail = {"respin.wait": set()}
    assert edges(dags["shard_flow"]) == expected("take_chunks", {"respin.leftovers", "respin.wait"}, tail)


@pytest.mark.parametrize("dag_id", ["image_flow", "shard_flow", "pages_flow"])
def test_each_stage_runs_on_its_queue_and_in_its_pool_and_the_rest_on_default(dags, dag_id):
    for task in dags[dag_id].tasks:
        stage = STAGES.get(task.task_id.rpartition(".")[2])
        wanted = (stage.queue, stage.pool) if stage else ("default", "light")
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


@pytest.fixture(scope="module")
def scheduled(dags):
    """A task instance as the scheduler makes it, from the serialized DAG and its run."""
    serialized = {
        dag_id: DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
        for dag_id, dag in dags.items()
    }

    def make(task_id, conf, dag_id="image_flow", run_type=DagRunType.MANUAL, map_index=-1):
        task = serialized[dag_id].get_task(task_id)
        run = DagRun(dag_id=dag_id, run_id="run", run_type=run_type, conf=conf)
        instance = TaskInstance(task, run_id="run", map_index=map_index, dag_version_id=uuid4())
        instance.refresh_from_task(task, dag_run=run)
        return instance

    return make


@pytest.mark.parametrize(("priority", "weight"), [("bulk", 101), ("normal", 201), (None, 201)])
@pytest.mark.parametrize("dag_id", ["image_flow", "shard_flow"])
def test_chunks_of_other_runs_stay_on_the_queue_and_in_the_pool_of_their_stage(
    scheduled, dag_id, priority, weight
):
    conf = {"priority": priority} if priority else {}
    for map_index in (0, 7):
        chunk = scheduled("a_c.generate", conf, dag_id, map_index=map_index)
        found = (chunk.queue, chunk.pool, chunk.priority_weight)
        assert found == ("gpu.generate", "gpu_generate", weight)


@pytest.mark.parametrize("dag_id", ["image_flow", "shard_flow"])
def test_chunks_of_an_interactive_run_have_their_own_queue_and_pool(scheduled, dag_id):
    for map_index in (0, 7):
        chunk = scheduled("a_c.inspect", {"priority": "interactive"}, dag_id, map_index=map_index)
        assert (chunk.queue, chunk.pool) == ("gpu.inspect.now", "gpu_inspect_now")
        assert chunk.priority_weight == 302
        assert chunk.queue in queues()


@pytest.mark.parametrize(
    ("priority", "pool"), [("bulk", "light"), ("normal", "light"), ("interactive", "default_pool")]
)
def test_light_tasks_of_an_interactive_run_wait_for_no_others(scheduled, priority, pool):
    for task_id in ("plan", "collect", "verdict"):
        instance = scheduled(task_id, {"priority": priority})
        assert (instance.queue, instance.pool) == ("default", pool)


def test_airflow_asks_the_policy_for_tasks_that_are_not_mapped_too():
    assert airflow_settings.task_instance_mutation_hook.is_noop is False


def test_a_backfill_gives_way_to_every_other_run_and_takes_no_fast_lane(scheduled):
    old = scheduled("a_c.inspect", {"priority": "interactive"}, run_type=DagRunType.BACKFILL_JOB, map_index=0)
    new = scheduled("a_c.generate", {"priority": "bulk"}, map_index=0)
    assert old.priority_weight < new.priority_weight
    assert (old.queue, old.pool) == ("gpu.inspect", "gpu_inspect")


@pytest.mark.parametrize("dag_id", ["image_flow", "shard_flow"])
def test_so_do_the_runs_that_a_backfill_starts(scheduled, dag_id):
    for task_id, map_index in (("a_c.inspect", 7), ("collect", -1)):
        old = scheduled(task_id, {"priority": policies.BACKFILL}, dag_id, map_index=map_index)
        new = scheduled(task_id, {"priority": "bulk"}, dag_id, map_index=map_index)
        assert old.priority_weight + 50 < new.priority_weight


def test_a_task_instance_without_a_run_stays_as_its_task_says(dags):
    instance = SimpleNamespace(task=dags["image_flow"].get_task("plan"), pool="p", queue="q")
    policies.task_policy(task := _Task("plan", "default"))
    policies.task_instance_mutation_hook(instance, None)
    assert (instance.pool, instance.queue, task.pool) == ("p", "q", "light")


def test_a_pool_of_a_users_own_task_is_left_alone():
    task = _Task("mine", "default")
    task.pool = "mine"
    policies.task_policy(task)
    assert task.pool == "mine"


def test_every_queue_has_a_worker_and_every_worker_a_queue(tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    listed = parts(Stack(home, Credentials(), usual_ports())).values()
    taken = [
        part.command[part.command.index("--queues") + 1].split(",")
        for part in listed
        if part.name.startswith("worker-")
    ]
    assert {queue for some in taken for queue in some} == set(queues())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flow", "C_A"),
        ("source", ""),
        ("source", "/etc/passwd"),
        ("source", "s3://not-ours/x.jsonl"),
        ("batch_id", "../etc"),
        ("options", {"generate": {"steps": 1000}}),
        ("options", {"paint": {}}),
        ("options", {"inspect": {"max_nfsw": 0.5}}),
        ("max_failed_ratio", 1.5),
        ("respins", 6),
        ("respins", 0.5),
        ("priority", "urgent"),
        ("not_before", "tomorrow"),
        ("deadline", "2030-01-01 00:00"),
        ("cancel_at_deadline", "yes"),
        ("callback_url", 5),
    ],
)
def test_a_bad_value_is_refused_when_the_run_is_triggered(dags, name, value):
    params = copy.deepcopy(dags["image_flow"].params)
    with pytest.raises(ParamValidationError):
        params[name] = value
        params.validate()


def test_the_last_tasks_of_a_run_lead_to_what_it_made(dags):
    serialized = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dags["image_flow"]))
    links = {task.task_id: list(task.extra_links) for task in serialized.tasks}
    assert links["collect"] == links["verdict"] == ["Contact sheet", "Manifest"]


def test_a_chunk_of_one_item_whose_id_is_a_number_has_that_for_a_name(dags):
    for dag in dags.values():
        for named in (task for task in dag.tasks if getattr(task, "map_index_template", None)):
            name = dag.get_template_env().from_string(named.map_index_template)
            assert name.render(chunk_name="19999", page_name="2") in {"19999", "2"}


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


def test_a_task_imports_nothing_of_ours_that_its_worker_had_not_before_it_forked():
    code = f"""
import runpy, sys
from darkroom.orchestration.preload import preload
preload()
before = set(sys.modules)
for dag in ("image_flow", "shard_flow"):
    runpy.run_path(f"{REPOSITORY}/dags/{{dag}}.py")
print("NEW", sorted(module for module in set(sys.modules) - before if module.startswith("darkroom")))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "NEW []" in out.splitlines()


def test_the_docs_of_the_dags_are_current(dags):
    assert (REPOSITORY / "docs" / "dags.md").read_text() == page(dags), "run: make docs"


def test_a_callback_is_tried_for_a_day_at_growing_intervals_without_holding_light_work_up(dags):
    post = dags["callback_flow"].get_task("post")
    waits = [min(10 * 2**n, post.max_retry_delay.total_seconds()) for n in range(post.retries)]
    assert 20 * 3600 < sum(waits) < 48 * 3600
    assert (post.retry_exponential_backoff, post.retry_delay.total_seconds()) == (2, 10)
    assert (post.retry_policy, post.max_active_tis_per_dag, post.pool) == (None, 1, "light")
    assert dags["callback_flow"].max_active_runs >= 10_000


def test_only_image_flow_has_a_deadline_and_it_is_the_runs_own(dags):
    assert {dag_id for dag_id, dag in dags.items() if dag.deadline} == {"image_flow"}
    (alert,) = dags["image_flow"].deadline
    assert (alert.interval.total_seconds(), type(alert.reference).__name__) == (0, "DeadlineOfRun")


def test_a_task_that_is_about_to_run_gets_the_defaults_and_none_of_their_limits(dags, monkeypatch):
    monkeypatch.setenv(_AIRFLOW_PARSING_CONTEXT_TASK_ID, "plan")  # as Airflow does
    bare = start_params()
    form = {name: dags["image_flow"].params.get_param(name) for name in dags["image_flow"].params}
    assert {n: param.value for n, param in bare.items()} == {n: param.value for n, param in form.items()}
    assert not any(param.schema for param in bare.values())
    assert form["flow"].schema["enum"] == list(FLOWS)


def test_what_daily_flow_sets_changes_no_default_of_the_form():
    start_params()["flow"].resolve("B_C")
    assert start_params()["flow"].value == "A_C"


def test_the_form_asks_where_items_go_on_to_only_where_there_are_ways(dags):
    assert "then" not in dags["image_flow"].params
    code = """
from darkroom.orchestration.defaults import start_params
from airflow.sdk.definitions.param import ParamsDict
params = ParamsDict(start_params())
for value in (None, "parity"):
    params["then"] = value
    params.validate()
try:
    params["then"] = "nowhere"
    params.validate()
except Exception as error:
    print("REFUSED", type(error).__name__, list(start_params()["then"].schema["enum"]))
"""
    table = {"parity": {"summary": "odd and even", "function": "parity:by_parity"}}
    env = os.environ | {"DARKROOM_THEN": json.dumps(table)}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "REFUSED ParamValidationError [None, 'parity']" in out.stdout
