"""Shards are started one after the other, and those that run are waited for, without a slot."""

import pytest
from airflow.providers.standard.triggers.external_task import DagStateTrigger
from airflow.sdk.exceptions import TaskDeferred

from darkroom.flows import STAGES
from darkroom.live import backlog
from darkroom.orchestration import children, tasks
from darkroom.orchestration.children import RunShards
from darkroom.orchestration.triggers import HandedOut
from darkroom.plans.planning import decide_params
from darkroom.store.batches import Batch, Index, chunk_id
from darkroom.store.storage import open_store


class Round:
    """A round of some shards, in an Airflow that starts a run only once."""

    def __init__(self, shards):
        self.left = list(range(shards))
        self.started: list[str] = []
        self.ended: set[str] = set()

    def next_shard(self, after):
        number = next((one for one in self.left if one > after), None)
        if number is None:
            return None
        run_id = f"b1__shard{number:03d}"
        turn = {"first": "a_c.generate", "last": "a_c.inspect", "room": 40}
        conf = {"batch_id": "b1", "shard": number}
        return {"trigger_run_id": run_id, "conf": conf, "chunks": 32 + number, "turn": turn}

    def start_run(self, dag_id, run_id, conf):
        assert (dag_id, conf["batch_id"]) == ("shard_flow", "b1")
        if run_id not in self.started:
            self.started.append(run_id)


@pytest.fixture
def three_shards(monkeypatch):
    found = Round(3)
    monkeypatch.setattr(tasks, "next_shard", found.next_shard)
    monkeypatch.setattr(children, "start_run", found.start_run)
    monkeypatch.setattr(children, "_ended", lambda run_id: run_id in found.ended)
    return found


def deferred(call, *arguments, **named):
    with pytest.raises(TaskDeferred) as caught:
        call(*arguments, **named)
    return caught.value


def test_the_next_shard_is_started_when_the_one_before_is_handed_out(three_shards):
    task = RunShards(task_id="run_shards")
    wait = deferred(task.execute, {})
    for number in (0, 1, 2):
        assert (
            three_shards.started[-1] == f"b1__shard{number:03d}" and len(three_shards.started) == number + 1
        )
        assert isinstance(wait.trigger, HandedOut) and wait.trigger.run_id == three_shards.started[-1]
        assert wait.trigger.chunks == {f"b1__shard{n:03d}": 32 + n for n in range(number + 1)}
        wait = deferred(getattr(task, wait.method_name), {}, 1, **wait.kwargs)
    assert isinstance(wait.trigger, DagStateTrigger) and wait.trigger.run_ids == three_shards.started
    assert getattr(task, wait.method_name)({}, None) is None


def test_who_has_ended_is_not_waited_for(three_shards):
    task = RunShards(task_id="run_shards")
    wait = deferred(task.execute, {})
    three_shards.ended = {"b1__shard000", "b1__shard001", "b1__shard002"}
    for _ in (1, 2):
        wait = deferred(task.go_on, {}, 1, **wait.kwargs)
    assert wait.trigger.chunks == {"b1__shard002": 34}, "nor counted among those that are open"
    assert task.go_on({}, 1, **wait.kwargs) is None


def test_another_try_starts_no_run_again_and_waits_for_the_one_that_runs(three_shards):
    task = RunShards(task_id="run_shards")
    wait = deferred(task.execute, {})
    deferred(task.go_on, {}, 1, **wait.kwargs)
    three_shards.left = [1, 2]  # the first is done
    again = deferred(RunShards(task_id="run_shards").execute, {})
    assert again.trigger.run_id == "b1__shard001"
    assert three_shards.started == ["b1__shard000", "b1__shard001"]


@pytest.mark.parametrize(("chunks", "shard", "starts"), [(3, None, None), (10, 1, None), (10, None, 0)])
def test_a_run_that_takes_its_chunks_itself_starts_no_shard(
    tmp_path, setting, monkeypatch, chunks, shard, starts
):
    """Cleared, or upgraded in the midst, it may come to the task that starts them."""
    setting(store=(tmp_path / "store").as_uri(), redis_url="redis://127.0.0.1:1/0")
    batch = Batch(open_store((tmp_path / "store").as_uri()), "b1")
    batch.save_params(decide_params("f", "A", min_chunk_s=1, max_chunk_s=1, shard_chunks=4))
    index = Index(flow="A", chunk_ids=[chunk_id(k) for k in range(chunks)], sizes=[1] * chunks, items=chunks)
    monkeypatch.setattr(tasks, "_planned", lambda batch: index)
    context = {"params": {"batch_id": "b1", "shard": shard}, "run_id": "b1"}
    monkeypatch.setattr(tasks, "get_current_context", lambda: context)
    found = tasks.next_shard(-1)
    assert (found and found["conf"]["shard"]) == starts


def test_there_is_room_for_what_the_lanes_have_in_hand_and_a_little_more_for_the_last_stage(
    tmp_path, setting, monkeypatch
):
    setting(store=(tmp_path / "store").as_uri(), redis_url="redis://127.0.0.1:1/0")
    batch = Batch(open_store((tmp_path / "store").as_uri()), "b1")
    batch.save_params(decide_params("f", "A_C", min_chunk_s=1, max_chunk_s=1, shard_chunks=4))
    index = Index(flow="A_C", chunk_ids=[chunk_id(k) for k in range(9)], sizes=[1] * 9, items=9)
    monkeypatch.setattr(tasks, "_planned", lambda batch: index)
    monkeypatch.setattr(backlog, "ready_servers", lambda fleet: {"generate": 50, "inspect": 1})
    context = {"params": {"batch_id": "b1"}, "run_id": "b1"}
    monkeypatch.setattr(tasks, "get_current_context", lambda: context)
    found = tasks.next_shard(0)
    lanes = {name: STAGES[name].lanes_per_server for name in ("generate", "inspect")}
    room = 50 * lanes["generate"] + 2 * lanes["inspect"]
    assert found["turn"] == {"first": "a_c.generate", "last": "a_c.inspect", "room": room}
    assert found["chunks"] == 4
