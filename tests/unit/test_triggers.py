"""When a shard has its turn."""

import asyncio
from collections import Counter
from itertools import count

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.utils.state import TaskInstanceState

from darkroom.orchestration import triggers
from darkroom.orchestration.triggers import HandedOut


@pytest.fixture
def shard(monkeypatch):
    """How many chunks of the shard before are in each state, as the execution API would count them."""
    chunks: Counter[str] = Counter()
    monkeypatch.setattr(triggers, "_POLL_S", 0.001)
    monkeypatch.setattr(
        RuntimeTaskInstance, "get_ti_count", lambda states, **_: sum(chunks[state] for state in states)
    )
    return chunks


@pytest.fixture
def begins_after(shard, monkeypatch):
    """Whether the next shard begins when so many chunks shall be out, before the third look."""

    def begins(number):
        looks = count(1)
        monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", lambda **_: int(next(looks) == 3))
        asyncio.run(anext(HandedOut("shard_flow", "b1__shard000", "a.generate", number).run()))
        return next(looks) < 4

    return begins


def test_a_shard_begins_when_the_one_before_has_handed_out_its_chunks(shard, begins_after):
    shard |= {"scheduled": 4, "running": 3, "success": 2, "up_for_reschedule": 1}
    assert begins_after(6)
    assert not begins_after(7)


def test_chunks_of_a_paused_batch_are_not_handed_out(shard, begins_after):
    shard |= {"deferred": 9, "success": 1}
    assert begins_after(1)
    assert not begins_after(2)


def test_every_other_state_that_a_worker_leaves_counts(shard, begins_after):
    waiting = {"scheduled", "deferred", "awaiting_input"}
    shard |= {state.value: 1 for state in TaskInstanceState if state.value not in waiting}
    assert begins_after(len(shard))
