"""Each flow through `dag.test()`: the tasks in one process, real models in their servers."""

import json
import subprocess
import sys

import pytest
from airflow.utils.state import DagRunState
from tests.servers import model_servers
from tests.unit.plant import rejects_of

from darkroom.orchestration.dag_docs import load_dags
from darkroom.results.manifest import current, verify
from darkroom.settings import REPOSITORY, settings
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store


@pytest.fixture(scope="module", autouse=True)
def database():
    """An empty metadata database: SQLite is enough for one process."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)


@pytest.fixture(scope="module", autouse=True)
def servers():
    with pytest.MonkeyPatch.context() as patch, model_servers("generate", "enhance", "inspect") as urls:
        patch.setenv("DARKROOM_SERVER_URLS", json.dumps(urls))
        patch.setenv("DARKROOM_MIN_CHUNK_S", "1")
        settings.cache_clear()
        yield
    settings.cache_clear()


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A folder that sources may lie in."""
    monkeypatch.setenv("DARKROOM_SOURCE_ROOTS", json.dumps([str(tmp_path), str(REPOSITORY / "examples")]))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


@pytest.fixture
def dags(inputs):
    """Parsed with that folder among the roots: the form refuses what lies outside of them."""
    dags = load_dags(REPOSITORY / "dags")
    for dag in dags.values():
        dag.deadline = None  # an alert is looked up in the database, where `dag.test()` writes none
    return dags


def run(dags, **conf):
    dag_run = dags["image_flow"].test(run_conf={"respins": 0, "max_failed_ratio": 0.5, **conf})
    batch = Batch(open_store(settings().store_url), conf["batch_id"])
    states = {ti.task_id: ti.state for ti in dag_run.get_task_instances() if ti.map_index <= 0}
    return dag_run, batch, states


@pytest.mark.parametrize(
    ("flow", "source"),
    [("A", "prompts.csv"), ("A_C", "prompts.csv"), ("B_C", "photos")],
)
def test_a_flow_runs_to_a_verified_manifest_and_no_other_flow_runs(dags, inputs, flow, source):
    dag_run, batch, states = run(dags, flow=flow, source=f"examples/{source}", batch_id=f"t-{flow}")
    assert dag_run.state == DagRunState.SUCCESS
    report = verify(batch)
    assert report.ok, report
    assert current(batch).items > 0
    group = flow.lower() + "."
    for task_id, state in states.items():
        if task_id.startswith(("a.", "a_c.", "b_c.")):
            assert (state == "success") == task_id.startswith(group), (task_id, state)
    assert states["then.route"] == states["then.start"] == "skipped"


def test_an_empty_source_succeeds_with_an_empty_manifest(dags, inputs):
    (inputs / "empty.jsonl").write_text("")
    dag_run, batch, states = run(dags, flow="A", source=str(inputs / "empty.jsonl"), batch_id="t-empty")
    assert dag_run.state == DagRunState.SUCCESS
    assert (current(batch).items, current(batch).generation) == (0, 1)
    assert states["a.generate"] == "skipped"


def test_bad_lines_are_listed_and_the_good_ones_beside_them_are_done(dags, inputs):
    good = {"custom_id": "good", "prompt": "a red circle on a white background"}
    lines = [json.dumps(good), "{", json.dumps({**good, "custom_id": "b", "promt": 1}), json.dumps(good)]
    (inputs / "mixed.jsonl").write_text("\n".join(lines))
    dag_run, batch, _ = run(dags, flow="A", source=str(inputs / "mixed.jsonl"), batch_id="t-mixed")
    assert dag_run.state == DagRunState.SUCCESS
    assert [(reject.line, reject.field) for reject in rejects_of(batch)] == [
        (2, None),
        (3, "promt"),
        (4, "custom_id"),
    ]
    assert current(batch).completed == 1


def test_a_run_with_too_many_failures_fails_with_everything_written(dags, inputs):
    (inputs / "bad").mkdir()
    (inputs / "bad" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    dag_run, batch, states = run(
        dags, flow="B_C", source=str(inputs / "bad"), batch_id="t-bad", max_failed_ratio=0.0
    )
    assert dag_run.state == DagRunState.FAILED
    assert (states["collect"], states["verdict"]) == ("success", "failed")
    assert current(batch).failed == 1
    assert verify(batch).ok


def test_a_source_without_a_single_item_fails_the_run(dags, inputs):
    (inputs / "typo.jsonl").write_text('{"custom_id": "a", "promt": "a red circle"}')
    dag_run, batch, states = run(dags, flow="A", source=str(inputs / "typo.jsonl"), batch_id="t-typo")
    assert dag_run.state == DagRunState.FAILED
    assert states["verdict"] == "failed"
    assert current(batch).rejects == 1


def test_a_run_can_be_repeated_without_harm(dags, inputs):
    conf = {"flow": "A", "source": "examples/prompts.csv", "batch_id": "t-again"}
    _, batch, _ = run(dags, **conf)
    before = {path: batch.store.read(path) for path in batch.store.list(batch.root)}
    dag_run, _, _ = run(dags, **conf)
    assert dag_run.state == DagRunState.SUCCESS
    assert {path: batch.store.read(path) for path in batch.store.list(batch.root)} == before


def test_a_batch_id_that_another_request_has_taken_fails_the_run_at_once(dags, inputs):
    run(dags, flow="A", source="examples/prompts.csv", batch_id="t-taken")
    dag_run, _, states = run(dags, flow="A_C", source="examples/prompts.csv", batch_id="t-taken")
    assert dag_run.state == DagRunState.FAILED
    assert states["plan"] == "failed"


@pytest.fixture
def ways(inputs, monkeypatch):
    """A plant with ways to go on, whose functions are known before its DAGs are parsed."""
    (inputs / "ways_of_dags.py").write_text(
        "def nobody(row, summary):\n    return None\n\ndef wrong(row, summary):\n    return row.nothing\n"
    )
    names = ("nobody", "wrong")
    table = {name: {"summary": name, "function": f"ways_of_dags:{name}"} for name in names}
    monkeypatch.setenv("DARKROOM_THEN", json.dumps(table))
    monkeypatch.setenv("DARKROOM_CODE", str(inputs))
    monkeypatch.setattr("sys.path", list(sys.path))
    settings.cache_clear()


@pytest.mark.parametrize(
    ("way", "ends", "routed"),
    [("nobody", DagRunState.SUCCESS, "success"), ("wrong", DagRunState.FAILED, "failed")],
)
def test_a_run_ends_well_when_nothing_goes_on_and_fails_when_its_function_does(ways, dags, way, ends, routed):
    dag_run, batch, states = run(
        dags, flow="A", source="examples/prompts.csv", batch_id=f"t-{way}", then=way
    )  # fmt: skip
    assert dag_run.state == ends
    assert (states["verdict"], states["then.route"]) == ("success", routed)
    assert states["then.start"] == ("skipped" if routed == "success" else "upstream_failed")
    assert verify(batch).ok
