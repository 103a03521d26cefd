"""How much work waits, and whether there is room for more."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.errors import PlantFull
from darkroom.fleet.servers import Fleet
from darkroom.flows import STAGES
from darkroom.live.backlog import Backlog, backlog, refuse_when_full, seconds_per_item, weigh
from darkroom.live.progress import ChunkNow, PlanNow, Progress
from darkroom.live.rates import Rates
from darkroom.serving.status import ServerStatus, State

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STAGES_HERE = ("generate", "inspect")
items = st.dictionaries(st.sampled_from(STAGES_HERE), st.integers(0, 10**6), min_size=1)
rates = st.fixed_dictionaries({stage: st.floats(0.01, 100) for stage in STAGES_HERE})
servers = st.fixed_dictionaries({stage: st.integers(0, 50) for stage in STAGES_HERE})


@given(st.dictionaries(st.sampled_from(["b1", "b2", "b3"]), items), rates, servers)
def test_the_stage_with_the_longest_queue_counts(remaining, rates, servers):
    found = weigh(remaining, rates, servers)
    assert found.seconds == max(found.by_stage.values(), default=0)
    assert found.by_batch.keys() == remaining.keys()
    assert max(found.by_batch.values(), default=0) <= found.seconds * (1 + 1e-9)
    assert found.seconds <= sum(found.by_batch.values()) * (1 + 1e-9)


@given(items, rates, servers)
def test_twice_the_servers_need_half_the_time(items, rates, servers):
    servers = {stage: count + 1 for stage, count in servers.items()}
    doubled = {stage: 2 * count for stage, count in servers.items()}
    once, twice = weigh({"b": items}, rates, servers), weigh({"b": items}, rates, doubled)
    assert twice.seconds == pytest.approx(once.seconds / 2)


def test_a_full_plant_says_how_long_when_to_come_back_and_how_to_insist():
    waiting = Backlog(30 * 3600, {"generate": 30 * 3600}, {"b1": 1, "b2": 2})
    with pytest.raises(PlantFull) as refused:
        refuse_when_full(waiting, 24, NOW)
    said = str(refused.value)
    assert "30.0 hours of work wait already, in 2 batches" in said
    assert "2026-03-01 18:00 UTC" in said
    assert "--force" in said
    assert (PlantFull.fault, PlantFull.retryable) == ("user", False)


@pytest.mark.parametrize("limit_h", [0, 30, 31])
def test_within_the_limit_or_without_one_there_is_room(limit_h):
    refuse_when_full(Backlog(30 * 3600, {}, {}), limit_h, NOW)


def told(stage, name):
    return ServerStatus(
        name=name, stage=stage, model="m", implementation="m:M", state=State.READY, lanes=2, pid=1
    )


def test_what_waits_is_measured_where_it_can_be_and_assumed_where_not(url):
    progress, rates, fleet = Progress(url), Rates(url), Fleet(url)
    assert backlog(progress, rates, fleet) == Backlog()
    progress.plan("b1", PlanNow("A_C", 1000))
    progress.plan("gone", PlanNow("no-such-flow", 1000))
    progress.plan("ended", PlanNow("A_C", 1000))
    progress.end("ended", "success")
    generate, inspect = STAGES["generate"], STAGES["inspect"]
    by_table = backlog(progress, rates, fleet)
    assert by_table.by_stage == pytest.approx(
        {stage.name: 1000 * stage.seconds_per_item / stage.servers for stage in (generate, inspect)}
    )
    progress.report("b1", "generate", "00000", ChunkNow(400, 400, 0, 0, "fast", "ended"))
    rates.tell("generate", generate.model, "fast", 100, 200)
    rates.tell("generate", generate.model, "slow", 10, 80)
    fleet.tell("h", told("generate", "fast"))
    fleet.tell("h", told("generate", "slow"))
    assert seconds_per_item(rates, "generate") == pytest.approx(3.2)  # 0.5 + 0.125 items a second
    found = backlog(progress, rates, fleet)
    assert found.by_stage["generate"] == pytest.approx(600 / 0.625, rel=1e-6)
    assert found.seconds == found.by_stage["generate"]
    assert set(found.by_batch) == {"b1"}
