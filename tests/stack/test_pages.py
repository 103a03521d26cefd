"""Batches whose source is an HTTP API that misbehaves, through the real stack."""

import json

import pytest

from darkroom.commands.batches import api
from darkroom.plans.pages import Pages
from darkroom.results.manifest import rows
from darkroom.settings import settings
from tests.stack.plant import batch_of, finished, started, until
from tests.unit.plant import rejects_of

SECRET = "hush-hush"


@pytest.fixture(scope="module")
def connection(stack):
    """Who asks the API with numbered pages."""
    told = {"connection_id": "paged_api", "conn_type": "generic", "password": SECRET}
    api().call("POST", "/api/v2/connections", json=told)


@pytest.fixture
def paged(connection, paging_api):
    """The API, as new."""
    paging_api.answers.clear()
    paging_api.asked.clear()
    paging_api.headers.clear()
    paging_api.company = paging_api.most_at_once = 0
    return paging_api


def state(run, task):
    found = api().task_instances("image_flow", run.run_id)
    return next(ti["state"] for ti in found if ti["task_id"] == task)


def slots():
    """Slots for light work that are taken now."""
    return api().call("GET", "/api/v2/pools/light")["occupied_slots"]


def pages_of(run, table):
    return Pages(batch_of(run), settings().pages[table])


def test_numbered_pages_are_fetched_side_by_side_as_who_the_connection_says(paged):
    paged.fill(3, 3, 2)
    paged.answers[2] = [(429, {"Retry-After": "1"})]
    paged.company = 2
    run = started("A", f"{paged.root}/numbered", respins=0)
    batch, summary = finished(run)
    assert paged.most_at_once == 2
    assert (summary.items, summary.completed, summary.rejects) == (8, 8, 0)
    assert paged.asked == {1: 1, 2: 2, 3: 1}
    assert {headers["Authorization"] for headers in paged.headers} == {f"Bearer {SECRET}"}
    child = f"{run.run_id}__page00001"
    fetched = [ti for ti in api().task_instances("pages_flow", child) if ti["task_id"] == "fetch"]
    assert [ti["rendered_map_index"] for ti in fetched] == ["page 2", "page 3"]
    assert {ti["try_number"] for ti in fetched} == {1}  # to be told to come later spends no try
    for path in batch.store.list(batch.root):
        assert SECRET.encode() not in batch.store.read(path)
    for ti in api().task_instances("pages_flow", child):
        entries = f"{ti['task_id']}/xcomEntries"
        assert SECRET not in json.dumps(
            api().call("GET", f"/api/v2/dags/pages_flow/dagRuns/{child}/taskInstances/{entries}")
        )


def test_a_page_of_a_chain_is_computed_while_the_next_is_fetched_and_nobody_who_waits_holds_a_slot(paged):
    paged.fill(3, 2, 1)
    paged.pages[1].append(paged.pages[0][0])
    paged.answers = {2: [(429, {"Retry-After": "12"})], 3: [404]}
    run = started("A", f"{paged.root}/chain", respins=0)
    pages = pages_of(run, "chain")

    def first_is_done():
        return list(pages.batch.store.list(f"{pages.batch.root}/parts/generate"))

    until(first_is_done, "the first page is computed")
    assert pages.page(2) is None
    assert state(run, "plan") == "deferred"
    assert slots() == 0
    batch, summary = finished(run)
    assert (summary.items, summary.completed) == (5, 5)
    assert sorted(row.custom_id for row in rows(batch, summary)) == ["p1-1", "p1-2", "p1-3", "p2-1", "p2-2"]
    assert [(reject.source, reject.custom_id or reject.reason) for reject in rejects_of(batch)] == [
        ("page 00002", "p1-1"),
        ("page 00003", "the page is missing: answers 404"),
    ]
    states = [api().run_state("pages_flow", f"{run.run_id}__page{page:05d}") for page in (1, 2, 3)]
    assert states == ["success", "success", "failed"]


def test_a_missing_page_fails_a_run_that_may_miss_none_and_a_retry_fetches_it(paged, stack):
    paged.fill(1, 1)
    paged.answers[2] = [403]
    name = ["--batch", "missing-page", "--respins", "0", "--wait"]
    done = stack.darkroom("submit", f"{paged.root}/numbered", "--flow", "A", *name)
    assert done.returncode == 1
    assert "failed at plan: " in done.stderr
    assert "page 2 answers 403" in done.stderr
    again = stack.darkroom("retry", "missing-page", "--wait")
    assert again.returncode == 0, again.stderr
    assert "2 items: 2 completed" in again.stdout
    assert paged.asked == {1: 1, 2: 2}


def test_cancelling_ends_the_chain_of_pages(paged, stack):
    paged.fill(1, 1)
    paged.answers[2] = [(429, {"Retry-After": "300"})]
    run = started("A", f"{paged.root}/chain", respins=0)
    until(lambda: api().active_runs("pages_flow", run.batch_id) and paged.asked[2], "page 2 was asked for")
    assert stack.darkroom("cancel", run.batch_id).returncode == 0
    assert api().wait("image_flow", run.run_id, 60) == "failed"
    assert not api().active_runs("pages_flow", run.batch_id)
    assert paged.asked[2] == 1
