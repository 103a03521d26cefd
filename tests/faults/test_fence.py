"""A server that is fenced in the middle of a batch."""

from darkroom.commands.batches import api
from darkroom.flows import STAGES
from darkroom.orchestration.gate import fence_of
from darkroom.stack.serving_parts import celery_name
from tests.faults.conftest import queues
from tests.faults.outcome import complete, tries
from tests.stack.plant import until

ITEMS, STAGE = 240, STAGES["generate"]
FENCED, OTHER = celery_name("generate-1"), celery_name("generate-2")


def test_the_worker_of_a_fenced_server_stands_aside_the_others_do_the_rest_and_it_comes_back(submit, stack):
    slots = api().pools()[STAGE.pool]
    run = submit(ITEMS)
    fence = fence_of("generate-1")
    fence.strike("no such device")
    fence.strike("no such device")
    until(lambda: queues(stack).get(FENCED) == set(), "the fenced server's worker takes from no queue")
    assert queues(stack)[OTHER] == {STAGE.queue}
    until(lambda: api().pools()[STAGE.pool] == slots - STAGE.lanes_per_server, "its lanes do not count")
    complete(run, ITEMS)
    assert max(tries(run)) == 1, "what a fence puts back spends no try"
    until(lambda: fence.fenced() is None, "the fence is lifted", timeout_s=120)
    until(lambda: queues(stack).get(FENCED) == {STAGE.queue}, "its worker takes chunks again")
    until(lambda: api().pools()[STAGE.pool] == slots, "its lanes count again")
    _, summary = complete(submit(ITEMS), ITEMS)
    assert FENCED in summary.by_host
