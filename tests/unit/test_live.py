"""What is live: progress, rates, control. Over a real Valkey, and over none."""

import threading

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from tests.servers import free_port

from darkroom.errors import BadRequest
from darkroom.live import rates as rates_module
from darkroom.live.control import Control, ControlUnknown
from darkroom.live.progress import ChunkNow, PlanNow, Progress
from darkroom.live.rates import MEMORY_S, SILENT_S, Rates, faded, read_rates


@pytest.fixture
def nobody():
    """A URL where no Redis answers."""
    return f"redis://127.0.0.1:{free_port()}/0"


def test_a_batch_is_active_from_its_plan_to_its_end_and_again_when_it_is_taken_up(url):
    progress = Progress(url)
    progress.plan("b1", PlanNow("A", 10))
    progress.plan("b2", PlanNow("A", 10))
    progress.end("b1", "failed")
    assert (progress.active(), progress.read("b1").ended) == (["b2"], "failed")
    progress.plan("b1", PlanNow("A", 3, round=1))
    assert (progress.active(), progress.read("b1").ended) == (["b1", "b2"], "")
    assert [plan.items for plan in progress.read("b1").plans] == [10, 3]


def test_telling_twice_counts_once_and_the_last_host_has_the_chunk(url):
    progress = Progress(url)
    progress.report("b1", "generate", "00000", ChunkNow(10, 4, 0, 0, "g@a", "stopped", "draining"))
    progress.report("b1", "generate", "00000", ChunkNow(10, 10, 0, 0, "g@b", "ended", reused=4))
    seen = progress.read("b1")
    assert seen.stages["generate"].done == 10
    assert [(host.host, host.computed) for host in seen.hosts] == [("g@b", 6)]
    assert progress.chunk("b1", "generate", "00000").host == "g@b"
    assert progress.chunk("b1", "generate", "00001") is None


def test_without_redis_nothing_is_known_and_nobody_fails(nobody):
    for url in (nobody, ""):
        progress, rates, control = Progress(url), Rates(url), Control(url)
        progress.plan("b1", PlanNow("A", 10))
        progress.report("b1", "generate", "00000", ChunkNow(10, 4, 0, 0, "g", "running"))
        progress.end("b1", "success")
        rates.tell("generate", "m@1", "g", 10, 20)
        assert (progress.active(), progress.read("b1").items) == ([], None)
        assert progress.chunk("b1", "generate", "00000") is None
        assert rates.read("generate", "m@1") == {}
        assert control.state("b1") == ""


def test_who_asks_for_something_is_told_that_nobody_would_hear_it(nobody):
    for url in (nobody, ""):
        for ask in (Control(url).pause, Control(url).resume, Control(url).cancel, Control(url).clear):
            with pytest.raises(ControlUnknown):
                ask("b1")


def test_a_batch_is_paused_resumed_cancelled_and_taken_up_again(url):
    control = Control(url)
    control.resume("b1")
    assert control.state("b1") == ""
    control.pause("b1")
    control.pause("b1")
    assert (control.state("b1"), control.state("b2")) == ("paused", "")
    control.resume("b1")
    assert control.state("b1") == ""
    control.cancel("b1")
    control.cancel("b1")
    for ask in (control.pause, control.resume):
        with pytest.raises(BadRequest, match="cancelled; darkroom retry b1"):
            ask("b1")
    control.clear("b1")
    assert control.state("b1") == ""


def test_a_rate_is_kept_by_stage_model_and_host(url):
    rates = Rates(url)
    rates.tell("generate", "m@1", "slow", 10, 20)
    rates.tell("generate", "m@1", "fast", 10, 5)
    rates.tell("generate", "m@2", "fast", 10, 50)
    found = rates.read("generate", "m@1")
    assert {host: rate.seconds_per_item for host, rate in found.items()} == pytest.approx(
        {"slow": 2, "fast": 0.5}, rel=1e-6
    )
    assert found["slow"].items == 10
    assert set(rates.read("generate", "m@2")) == {"fast"}


def test_what_was_not_computed_says_nothing_of_a_rate(url):
    rates = Rates(url)
    rates.tell("generate", "m@1", "g", 0, 10)
    rates.tell("generate", "m@1", "g", 10, 0)
    assert rates.read("generate", "m@1") == {}


def test_lanes_that_tell_at_once_undo_nothing_of_each_other(url):
    def tell():
        rates = Rates(url)
        for _ in range(50):
            rates.tell("generate", "m@1", "g", 2, 1.0)

    lanes = [threading.Thread(target=tell) for _ in range(4)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    found = Rates(url).read("generate", "m@1")["g"]
    assert found.items == 400
    assert found.seconds_per_item == pytest.approx(0.5, rel=1e-6)


def test_a_host_that_changes_its_speed_is_believed_after_some_minutes_of_work(url):
    rates = Rates(url)
    for _ in range(20):
        rates.tell("generate", "m@1", "g", 60, 60)
    rates.tell("generate", "m@1", "g", 30, 60)
    one_later = rates.read("generate", "m@1")["g"].seconds_per_item
    assert 1 < one_later < 1.2
    for _ in range(20):
        rates.tell("generate", "m@1", "g", 30, 60)
    assert rates.read("generate", "m@1")["g"].seconds_per_item == pytest.approx(2, rel=0.05)


def test_a_host_that_was_silent_for_a_day_does_not_count():
    told = {"g": "[10,5,5,1000.0]"}
    assert read_rates(told, 1000 + SILENT_S)["g"].seconds_per_item == 2
    assert read_rates(told, 1001 + SILENT_S) == {}


@given(st.floats(0.001, 10_000))
def test_a_short_piece_weighs_its_seconds_and_a_long_one_the_memory(busy_s):
    fade, weight = faded(busy_s)
    assert 0 <= fade < 1
    assert weight <= min(busy_s, MEMORY_S) + 1e-9
    assert weight > 0.6 * min(busy_s, MEMORY_S)


def test_the_hash_is_dropped_when_nobody_works_for_long(url):
    Rates(url).tell("generate", "m@1", "g", 1, 1)
    with redis.Redis.from_url(url) as client:
        (key,) = client.keys("darkroom:rates:*")
        assert 0 < client.ttl(key) <= rates_module.KEEP_S
