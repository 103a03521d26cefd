"""Machines that always fail or hang, an item that kills its server, a store that refuses."""

import os
import signal

from darkroom.commands.batches import api
from darkroom.orchestration.gate import fence_of
from darkroom.records import Status
from darkroom.results.manifest import rows
from darkroom.serving.status import ServerStatus, State, status_file
from darkroom.settings import settings
from darkroom.stack.serving_parts import celery_name
from tests.faults.conftest import done, queues
from tests.faults.outcome import chunks, complete, tries
from tests.stack.plant import batch_of, until

ITEMS = 240


def test_a_host_on_which_everything_fails_is_fenced_and_costs_no_item(submit, fleet):
    run = submit(ITEMS)
    flag = fleet.put("broken", "generate-1")
    until(lambda: fence_of("generate-1").fenced(), "the broken host is fenced")
    _, summary = complete(run, ITEMS)
    flag.unlink()
    assert summary.by_host.keys() >= {f"generate-2@{_here()}"}
    fence_of("generate-1").take_down()


def _here():
    import socket

    return socket.gethostname()


def test_a_server_that_hangs_costs_no_item(submit, fleet):
    run = submit(ITEMS)
    flag = fleet.put("hang", "generate-1")
    until(lambda: not _ready("generate-1"), "the hung server is noticed")
    flag.unlink()
    complete(run, ITEMS)
    fence_of("generate-1").take_down()


def _status(server):
    return ServerStatus.read(status_file(settings().home, server))


def _ready(server):
    return _status(server).state is State.READY


def test_while_a_server_loads_for_long_the_other_has_all_its_lanes(submit, stack, fleet):
    run = submit(480)
    slots = api().pools()["gpu_generate"]
    flag = fleet.put("load", "generate-1")
    os.kill(_status("generate-1").pid, signal.SIGKILL)
    until(lambda: queues(stack).get(celery_name("generate-1")) == set(), "its worker takes no chunks")
    before = done(run.batch_id)
    until(lambda: done(run.batch_id) >= before + 40, "the other server goes on", timeout_s=30)
    assert api().pools()["gpu_generate"] == slots
    assert not _ready("generate-1")
    flag.unlink()
    complete(run, 480)


def test_an_item_that_kills_its_server_is_set_aside_and_its_neighbours_are_done(submit):
    run = submit(60, made=1, prompts={30: "poison"})
    batch, summary = complete(run, 60, failed=1)
    poison = next(row for row in rows(batch, summary) if row.custom_id == "i30")
    assert (poison.status, poison.error.code, poison.attempts) == (Status.FAILED, "killed_its_server", 3)


def test_a_store_that_refuses_pauses_the_chunks_and_they_go_on_when_it_is_back(submit):
    run = submit(ITEMS)
    images = batch_of(run).store
    folder = settings().home / "store" / "images" / "generate"
    away = folder.with_name("generate-away")
    folder.rename(away)
    folder.write_text("a file where a folder should be")
    try:
        until(
            lambda: any(instance["state"] == "up_for_reschedule" for instance in chunks(run)),
            "a chunk waits for the store",
        )
    finally:
        folder.unlink()
        away.rename(folder)
    complete(run, ITEMS)
    assert max(tries(run)) == 1
    assert images.exists(f"batches/{run.batch_id}/request.json")
