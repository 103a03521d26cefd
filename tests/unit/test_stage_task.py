"""What becomes of a chunk that is not done: put back without a try, tried again, or failed."""

from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction
from airflow.sdk.exceptions import AirflowRescheduleException

from darkroom.errors import (
    BadRequest,
    ChunkCancelled,
    ChunkStopped,
    DarkroomError,
    NewerSchema,
    ServerGone,
    ServerTimeout,
    StoreUnavailable,
)
from darkroom.orchestration import tasks
from darkroom.orchestration.defaults import retry_policy
from darkroom.orchestration.lane import Server
from darkroom.orchestration.stage_task import LONGEST_RETRY_S, STOPPED_RETRY_S, STORE_RETRY_S, RunStage


@pytest.fixture
def chunk(setting, tmp_path, monkeypatch):
    """Runs a chunk that ends as it is told, after it was put back so often; seconds until it is offered."""
    setting(store=(tmp_path / "store").as_uri(), redis_url="redis://127.0.0.1:1/0", home=str(tmp_path))
    monkeypatch.setattr("darkroom.orchestration.lane.choose_server", lambda stage: Server("http://x", ""))

    def run(error, put_back=0, priority="bulk"):
        task = RunStage(task_id="generate", stage_name="generate", chunk_id="00000")

        def fails(*_):
            raise error

        monkeypatch.setattr(task, "_run", fails)
        params = {"batch_id": "b1", "priority": priority}
        context = {"params": params, "run_id": "b1", "task_reschedule_count": put_back}
        before = datetime.now(UTC)
        with pytest.raises(AirflowRescheduleException) as caught:
            task.execute(context)
        return round((caught.value.reschedule_date - before) / timedelta(seconds=1))

    return run


def test_what_a_server_puts_back_is_offered_soon_and_ever_later(chunk):
    waits = [chunk(ChunkStopped("generate-1 is fenced"), put_back) for put_back in (0, 1, 2, 3, 1000)]
    assert waits == [STOPPED_RETRY_S, 2 * STOPPED_RETRY_S, 4 * STOPPED_RETRY_S, *[LONGEST_RETRY_S] * 2]


def test_what_somebody_waits_for_is_always_offered_soon(chunk):
    assert chunk(ChunkStopped("draining"), put_back=9, priority="interactive") == STOPPED_RETRY_S


def test_what_a_newer_version_has_planned_and_what_the_store_refuses_waits_without_a_try(chunk):
    assert chunk(NewerSchema("plan 2, and this host reads 1")) == LONGEST_RETRY_S
    assert chunk(StoreUnavailable("no space left")) == STORE_RETRY_S


def test_a_cancelled_chunk_ends(chunk):
    with pytest.raises(ChunkCancelled):
        chunk(ChunkCancelled("b1 is cancelled"))


@pytest.mark.parametrize("full", [28, 122])
def test_a_disk_that_is_full_where_a_task_keeps_its_files_puts_it_back(full):
    with pytest.raises(AirflowRescheduleException), tasks.store_patience():
        raise OSError(full, "no room")
    with pytest.raises(FileNotFoundError), tasks.store_patience():
        raise FileNotFoundError(2, "not there")


class Unheard(Exception):
    """None of ours."""


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (BadRequest("x"), RetryAction.FAIL),
        (ServerGone("x"), RetryAction.RETRY),
        (ServerTimeout("x"), RetryAction.RETRY),
        (MemoryError(), RetryAction.RETRY),
        (Unheard(), RetryAction.DEFAULT),
    ],
)
def test_each_error_says_whether_trying_again_helps_and_how_soon(error, action):
    decision = retry_policy().evaluate(error, 1, 3, None)
    assert decision.action is action
    if isinstance(error, DarkroomError) and error.retryable:
        assert decision.retry_delay == timedelta(seconds=error.retry_after_s)
    if isinstance(error, MemoryError):
        assert decision.retry_delay > timedelta(seconds=ServerGone.retry_after_s)
