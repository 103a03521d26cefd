"""A straggler's chunk ends; a batch that is merely slow, or has one host only, is not cut."""

import pytest

from darkroom.chunks.budget import Budget, measured_elsewhere
from darkroom.flows import STAGES
from darkroom.live.progress import ChunkNow, Progress
from darkroom.plans.planning import time_budget_s

GENERATE = STAGES["generate"]


def limit(seconds_per_item, n_items=100):
    return time_budget_s(n_items, seconds_per_item, GENERATE.lanes_per_server, GENERATE.chunk_timeout_s)


def budget(**others):
    return Budget(GENERATE, 100, 0.1, lambda: others)


def test_within_the_plans_own_budget_nobody_is_asked():
    never = Budget(GENERATE, 100, 0.1, lambda: pytest.fail("asked"))
    assert not never.spent(limit(0.1))


def test_past_it_a_host_slower_than_the_others_ends():
    straggler = budget(fast=0.1, faster=0.05)
    assert straggler.spent(limit(0.1) + 1)
    assert straggler.crawls


def test_when_all_are_slower_than_planned_the_chunk_goes_on():
    slow = budget(one=1.0, other=2.0)
    assert not slow.spent(limit(0.1) + 1)
    assert slow.spent(limit(2.0) + 1)


def test_when_all_are_too_slow_for_airflows_timeout_the_chunk_ends_and_no_host_is_blamed():
    plan_was_wrong = budget(one=1000.0, other=1000.0)
    assert not plan_was_wrong.spent(limit(0.1) + 1)
    assert plan_was_wrong.spent(GENERATE.chunk_timeout_s)
    assert not plan_was_wrong.crawls


def test_who_is_alone_goes_on_until_airflow_would_end_it():
    alone = budget()
    assert not alone.spent(limit(0.1) + 1)
    assert alone.spent(GENERATE.chunk_timeout_s)


def test_the_others_are_those_that_worked_on_this_stage_of_this_batch(url):
    progress = Progress(url)
    for host, chunk, busy_s in (("me", "00000", 50.0), ("you", "00001", 5.0), ("new", "00002", 0.0)):
        now = ChunkNow(20, 10 if busy_s else 0, 0, 0, host, "running", busy_s=busy_s)
        progress.report("b1", "generate", chunk, now)
    progress.report("b1", "inspect", "00001", ChunkNow(20, 10, 0, 0, "judge", "running", busy_s=1.0))
    assert measured_elsewhere(progress, "b1", "generate", "me") == {"you": 0.5}
