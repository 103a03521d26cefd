"""`pages_flow`, and how `plan` has it fetch pages: its edges, its runs' names, what ends a page."""

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, TaskDeferred
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from tests import paging_api
from tests.servers import valkey_server

from darkroom.errors import BadRequest, PageAway, PagesMissing, SourceNotAllowed
from darkroom.live.control import Control
from darkroom.orchestration import pages as page_tasks
from darkroom.orchestration import plan_task, tasks, triggers
from darkroom.orchestration.dag_docs import load_dags
from darkroom.orchestration.daily import WaitForPartition
from darkroom.orchestration.plan_task import Plan
from darkroom.orchestration.triggers import PagesEnded, page_run
from darkroom.settings import REPOSITORY, settings
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store

GROUPS = {"a.generate", "a_c.generate", "b_c.enhance"}


@pytest.fixture
def api():
    with paging_api.api() as server:
        server.fill(2, 1)
        yield server


@pytest.fixture
def table(api, tmp_path, monkeypatch):
    """Sets the tables `[pages.numbered]` and `[pages.chain]`, changed as asked."""

    def change(**more):
        tables = {
            name: {**getattr(api, name)(**more), "root": f"{api.root}/{name}"}
            for name in ("numbered", "chain")
        }
        monkeypatch.setenv("DARKROOM_PAGES", json.dumps(tables))
        settings.cache_clear()

    monkeypatch.setenv("DARKROOM_STORE", (tmp_path / "store").as_uri())
    change()
    yield change
    monkeypatch.undo()
    settings.cache_clear()


def context(api, kind="numbered", try_number=1, clear_number=0, run_id="b1", **params):
    """What Airflow tells a task of its run."""
    params = {
        "batch_id": "b1", "flow": "A", "source": f"{api.root}/{kind}", "priority": "bulk", "page": 1,
        "until": time.time() + 60, **params,
    }  # fmt: skip
    run = SimpleNamespace(start_date=datetime.now(UTC), clear_number=clear_number)
    ti = SimpleNamespace(try_number=try_number, max_tries=4)
    return {"params": params, "run_id": run_id, "dag_run": run, "ti": ti}


@pytest.fixture
def started(table, monkeypatch):
    """The runs that a task has started; its params are those of `image_flow`."""
    runs = []
    for module in (page_tasks, plan_task):
        monkeypatch.setattr(module, "start_run", lambda dag_id, **run: runs.append({"dag_id": dag_id, **run}))
    monkeypatch.setattr(plan_task.Plan, "lead", lambda self, context, chunk_ids: chunk_ids)
    monkeypatch.setattr(tasks, "admit", lambda: None)
    monkeypatch.setattr(
        tasks, "plan", lambda: Batch(open_store(settings().store_url), "b1").planned().chunk_ids
    )
    return runs


def asked(api, **more):
    """A context of `image_flow`, whose params have no page."""
    found = context(api, **more)
    del found["params"]["page"], found["params"]["until"]
    return found


def pages():
    return page_tasks.pages_of(Batch(open_store(settings().store_url), "b1"))


def test_it_looks_then_fetches_the_others_or_takes_the_page_through_its_flow(dags):
    edges = {task.task_id: set(task.downstream_task_ids) for task in dags["pages_flow"].tasks}
    assert edges == {
        "look": {"choose_way", "fetch", *GROUPS},
        "choose_way": {"fetch", *GROUPS},
        "fetch": set(),
        "a.generate": set(),
        "a_c.generate": {"a_c.inspect"},
        "a_c.inspect": set(),
        "b_c.enhance": {"b_c.inspect"},
        "b_c.inspect": set(),
    }


def test_pages_of_a_batch_leave_slots_to_others(dags):
    assert dags["pages_flow"].get_task("fetch").max_active_tis_per_dagrun < settings().light_slots


def test_a_source_of_an_api_is_taken_by_the_form_and_another_is_not(table, api):
    source = load_dags(REPOSITORY / "dags")["image_flow"].params.get_param("source")
    assert source.resolve(f"{api.root}/chain?day=2026-11-20")
    for wrong in (
        f"{api.root}/chains",
        f"{api.root}/../chain",
        "https://example.com/",
        f"{api.root}/chain x",
    ):
        with pytest.raises(Exception, match="does not match"):
            source.resolve(wrong)


def test_a_day_may_be_a_url_of_an_api(table, api, monkeypatch):
    source = f"{api.root}/chain?day={{day}}"
    monkeypatch.setenv("DARKROOM_DAILY", json.dumps({"source": source, "flow": "A"}))
    settings.cache_clear()
    assert load_dags(REPOSITORY / "dags")["daily_flow"].timetable.can_be_scheduled
    run = SimpleNamespace(run_type="scheduled", run_id="r", clear_number=0,
                          data_interval_start=datetime(2026, 11, 20, tzinfo=UTC))  # fmt: skip
    (day,) = WaitForPartition(task_id="wait_for_partition").execute({"dag_run": run, "params": {"redo": 0}})
    assert day["conf"]["source"] == f"{api.root}/chain?day=2026-11-20"
    assert not api.asked


def test_a_plan_has_the_first_page_fetched_and_waits_without_a_slot(api, started):
    with pytest.raises(TaskDeferred) as deferred:
        Plan(task_id="plan").execute(asked(api))
    (run,) = started
    assert (run["dag_id"], run["run_id"]) == ("pages_flow", "b1__page00001")
    assert run["conf"].keys() == {"batch_id", "page", "until", "priority"}
    assert run["conf"]["page"] == 1
    assert abs(run["conf"]["until"] - time.time() - 3600) < 60
    _, fields = deferred.value.trigger.serialize()
    assert fields == {
        "dag_id": "pages_flow", "run_id": "b1__page00001", "batch_id": "b1", "first": 1,
        "until": run["conf"]["until"],
    }  # fmt: skip


def test_a_try_awaits_the_same_run_and_a_cleared_task_another(api, started):
    for number, again in ((1, 0), (2, 0), (1, 1)):
        with pytest.raises(TaskDeferred):
            Plan(task_id="plan").execute(asked(api, try_number=number, clear_number=again))
    with pytest.raises(TaskDeferred):
        Plan(task_id="plan").execute(asked(api, run_id="b1__retry1"))
    assert [run["run_id"] for run in started] == [
        "b1__page00001", "b1__page00001", "b1__again1__page00001", "b1__retry1__page00001",
    ]  # fmt: skip
    assert page_run("b1__again1__page00001", 12) == "b1__again1__page00012"


def test_when_all_pages_are_there_the_batch_is_planned_at_once(api, started):
    with pytest.raises(TaskDeferred):
        Plan(task_id="plan").execute(asked(api))
    for page in (1, 2):
        pages().fetch(page, {})
    assert Plan(task_id="plan").execute(asked(api)) == pages().batch.planned().chunk_ids
    assert pages().batch.planned().items == 3
    before = len(started)
    Plan(task_id="plan").execute(asked(api))
    assert len(started) == before == 1


def test_pages_that_came_meanwhile_are_fetched_by_another_run(api, started):
    with pytest.raises(TaskDeferred):
        Plan(task_id="plan").execute(asked(api))
    api.count = {1: 2, 2: 3}
    for page in (1, 2):
        pages().fetch(page, {})
    until = started[0]["conf"]["until"]
    with pytest.raises(TaskDeferred):
        Plan(task_id="plan").fetched(asked(api), {"first": 1, "until": until, "late": False})
    assert [(run["run_id"], run["conf"]["until"]) for run in started] == [
        ("b1__page00001", until), ("b1__page00003", until),
    ]  # fmt: skip
    with pytest.raises(PagesMissing, match="page 3 was not fetched"):
        Plan(task_id="plan").fetched(asked(api), {"first": 3, "until": until, "late": False})


def test_pages_that_are_late_are_reported_by_number(api, started):
    with pytest.raises(TaskDeferred):
        Plan(task_id="plan").execute(asked(api))
    pages().fetch(1, {})
    with pytest.raises(PagesMissing, match=r"1 of 2 pages .* page 2 was not fetched"):
        Plan(task_id="plan").fetched(asked(api), {"first": 1, "until": 0, "late": True})


def test_a_source_of_no_table_is_refused_before_anything_is_started(api, started):
    wrong = asked(api, source="https://example.com/prompts")
    with pytest.raises(SourceNotAllowed, match="under no root"):
        Plan(task_id="plan").execute(wrong)
    assert not started


def test_a_batch_id_that_another_request_has_taken_is_refused(api, started):
    with pytest.raises(TaskDeferred):
        Plan(task_id="plan").execute(asked(api))
    with pytest.raises(BadRequest, match="taken"):
        Plan(task_id="plan").execute(asked(api, kind="chain"))


@pytest.fixture
def batch(api, started):
    """A batch that was asked for."""
    with pytest.raises(TaskDeferred):
        Plan(task_id="plan").execute(asked(api))
    started.clear()


def fetched(api, page=1, **more):
    return page_tasks._fetch(pages(), page, context(api, **more))


def test_a_page_that_is_delayed_is_put_back_until_then(api, batch):
    api.answers[1] = [(429, {"Retry-After": "20"})]
    with pytest.raises(AirflowRescheduleException) as put_back:
        fetched(api)
    assert 15 < (put_back.value.reschedule_date - datetime.now(UTC)).total_seconds() <= 20
    assert fetched(api).items == 2


def test_a_delay_beyond_the_time_out_gives_the_page_up(api, batch):
    api.answers[1] = [(429, {"Retry-After": "9999"})]
    with pytest.raises(AirflowFailException, match="answers 429"):
        fetched(api)
    assert "within timeout_s 3600" in pages().missing()[1]


def test_a_page_that_fails_is_tried_again_and_given_up_after_the_last_try(api, batch):
    api.answers[1] = [500, 500, 500]
    for number in (1, 4):
        with pytest.raises(PageAway):
            fetched(api, try_number=number)
    assert not pages().settled()
    with pytest.raises(AirflowFailException, match="page 1 is given up: it answers 500, after 5 tries"):
        fetched(api, try_number=5)
    assert pages().missing() == {1: "answers 500, after 5 tries"}
    assert pages().settled()


def test_a_page_that_is_refused_is_given_up_at_once(api, batch):
    api.answers[1] = [b"<html>"]
    with pytest.raises(AirflowFailException, match="not JSON"):
        fetched(api)
    assert pages().missing() == {1: "not JSON: JSONDecodeError"}


def test_after_the_time_out_nothing_is_asked_for(api, batch):
    with pytest.raises(AirflowFailException, match="was not fetched in time"):
        fetched(api, until=time.time() - 1)
    assert not api.asked


def test_a_page_of_a_cancelled_batch_is_not_asked_for(api, batch, tmp_path, monkeypatch):
    with valkey_server(tmp_path) as url:
        monkeypatch.setenv("DARKROOM_REDIS_URL", url)
        settings.cache_clear()
        Control(url).cancel("b1")
        with pytest.raises(AirflowFailException, match="cancelled"):
            fetched(api)
    assert not api.asked


@pytest.mark.parametrize(
    ("uri", "headers"),
    [
        ({"password": "hush"}, {"Authorization": "Bearer hush"}),
        ({"login": "me", "password": "hush"}, {"Authorization": "Basic bWU6aHVzaA=="}),
        ({"password": "hush", "extra": {"header": "X-API-Key"}}, {"X-API-Key": "hush"}),
    ],
)
def test_the_connection_says_who_asks(api, table, batch, monkeypatch, uri, headers):
    monkeypatch.setenv("AIRFLOW_CONN_PAGED_API", json.dumps({"conn_type": "generic", **uri}))
    table(connection="paged_api")
    fetched(api)
    assert headers.items() <= api.headers[0].items()


def test_without_the_connection_the_page_is_given_up_with_its_name(api, table, batch):
    table(connection="nobody")
    with pytest.raises(AirflowFailException, match="no Airflow connection 'nobody'"):
        fetched(api)
    assert not api.asked


@pytest.fixture
def look(monkeypatch):
    """The task, without Airflow."""

    def run(of):
        monkeypatch.setattr(page_tasks, "get_current_context", lambda: of)
        return page_tasks.look.function()

    return run


def test_the_first_numbered_page_leads_to_the_others(api, batch, look, started):
    api.count = 4
    assert look(context(api)) == [2, 3, 4]
    assert not started


def test_a_page_of_a_chain_starts_the_run_of_the_next_and_leads_through_the_flow(api, started, look):
    with pytest.raises(TaskDeferred):
        Plan(task_id="plan").execute(asked(api, kind="chain"))
    of = context(api, kind="chain", run_id="b1__page00001")
    chunks = look(of)
    assert all(chunk.startswith("p00001-") for chunk in chunks)
    run = started[-1]
    assert (run["dag_id"], run["run_id"]) == ("pages_flow", "b1__page00002")
    assert run["conf"] == {
        "batch_id": "b1", "page": 2, "until": of["params"]["until"], "priority": "bulk",
    }  # fmt: skip
    assert look(of) == chunks
    look(context(api, kind="chain", run_id="b1__page00002", page=2))
    assert len(started) == 3  # the last page starts none


@pytest.fixture
def runs(monkeypatch):
    """States of runs, as the execution API would count them."""
    states: dict[str, str] = {}

    def count(dag_id, run_ids, states=None, known=states):
        found = Counter(known[run_id] for run_id in run_ids if run_id in known)
        return sum(found.values()) if states is None else sum(found[state] for state in states)

    monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", count)
    monkeypatch.setattr(triggers, "_POLL_S", 0.001)
    return states


async def first_event(until, settled=True):
    trigger = PagesEnded("pages_flow", "b1__page00001", "b1", 1, until)
    trigger._settled = lambda: settled
    return await asyncio.wait_for(anext(trigger.run()), 0.3)


def test_the_wait_ends_when_every_run_of_the_chain_has_ended(runs):
    soon = time.time() + 60
    runs |= {"b1__page00001": "failed", "b1__page00002": "running"}
    with pytest.raises(TimeoutError):
        asyncio.run(first_event(soon))
    runs |= {"b1__page00002": "success"}
    assert asyncio.run(first_event(soon)).payload == {"first": 1, "until": soon, "late": False}


def test_the_wait_ends_when_a_page_is_late_but_not_while_what_is_there_is_computed(runs):
    runs |= {"b1__page00001": "running"}
    with pytest.raises(TimeoutError):
        asyncio.run(first_event(1.0))
    assert asyncio.run(first_event(1.0, settled=False)).payload["late"]
