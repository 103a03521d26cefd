"""When a shard has its turn."""

import asyncio
from collections import Counter
from itertools import count

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.serialization.serialized_objects import BaseSerialization
from airflow.utils.state import TaskInstanceState

from darkroom.orchestration import triggers
from darkroom.orchestration.triggers import HandedOut

FIRST, LAST, NEWEST, OLDER = "a_c.generate", "a_c.inspect", "b1__shard001", "b1__shard000"


class Plant:
    """How many chunks are in each state, by run and task, and which runs have ended, as Airflow counts."""

    def __init__(self):
        self.chunks: dict[tuple[str, str], Counter[str]] = {}
        self.ended: set[str] = set()
        self.looks = count(1)

    def get_ti_count(self, dag_id, run_ids, task_ids, states):
        assert dag_id == "shard_flow" and run_ids
        keys = [(run_id, task_id) for run_id in run_ids for task_id in task_ids]
        return sum(self.chunks.get(key, Counter())[state] for key in keys for state in states)

    def get_dr_count(self, dag_id, run_ids, states):
        assert dag_id == "shard_flow" and states == ["success", "failed"]
        return len(self.ended.intersection(run_ids))


class NotYet(Exception):
    """It waits."""


@pytest.fixture
def plant(monkeypatch):
    async def no_more(seconds):
        raise NotYet

    found = Plant()
    monkeypatch.setattr(triggers.asyncio, "sleep", no_more)
    monkeypatch.setattr(RuntimeTaskInstance, "get_ti_count", found.get_ti_count)
    monkeypatch.setattr(RuntimeTaskInstance, "get_dr_count", found.get_dr_count)
    return found


def begins(trigger):
    """Whether the next shard begins at the first look."""
    try:
        asyncio.run(anext(trigger.run()))
    except NotYet:
        return False
    return True


def after(chunks, last=FIRST, **older):
    """The next one may begin when the newest, which has so many chunks, leaves room."""
    return HandedOut("shard_flow", NEWEST, FIRST, last, room=10, chunks={NEWEST: chunks} | older)


def test_a_shard_begins_when_the_one_before_has_handed_out_its_chunks(plant):
    plant.chunks[NEWEST, FIRST] = Counter(scheduled=4, running=3, success=2, up_for_reschedule=1)
    assert begins(after(6))
    assert not begins(after(7))
    plant.ended = {NEWEST}
    assert begins(after(7))


def test_chunks_of_a_paused_batch_are_not_handed_out(plant):
    plant.chunks[NEWEST, FIRST] = Counter(deferred=9, success=1)
    assert begins(after(1))
    assert not begins(after(2))


def test_every_other_state_that_a_worker_leaves_counts(plant):
    waiting = {"scheduled", "deferred", "awaiting_input"}
    states = {state.value for state in TaskInstanceState if state.value not in waiting}
    plant.chunks[NEWEST, FIRST] = Counter(states)
    assert begins(after(len(states)))


@pytest.mark.parametrize(
    ("newest_judged", "older_judged", "room"),
    [(0, 10, True), (0, 9, False), (4, 6, True), (0, 0, False)],
)
def test_where_the_last_stage_is_slowest_it_begins_when_few_wait_for_that(
    plant, newest_judged, older_judged, room
):
    put_back = 10 - newest_judged
    plant.chunks[NEWEST, FIRST] = Counter(success=10)
    plant.chunks[NEWEST, LAST] = Counter(success=newest_judged, up_for_reschedule=put_back)
    plant.chunks[OLDER, LAST] = Counter(running=older_judged)
    assert begins(after(10, LAST, **{OLDER: 10})) is room


def test_chunks_of_a_run_that_ended_wait_for_nothing_also_if_it_never_made_them(plant):
    plant.chunks[NEWEST, FIRST] = Counter(success=10)
    plant.ended = {OLDER}
    assert begins(after(10, LAST, **{OLDER: 10}))
    plant.ended = {OLDER, NEWEST}
    assert begins(after(10, LAST, **{OLDER: 10}))


def test_the_triggerer_makes_it_again_from_what_is_kept(plant):
    path, fields = after(10, LAST, **{OLDER: 10}).serialize()
    assert path == "darkroom.orchestration.triggers.HandedOut"
    kept = BaseSerialization.deserialize(BaseSerialization.serialize(fields))
    assert HandedOut(**kept).serialize() == (path, fields)
