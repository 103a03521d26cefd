"""The meter counts what it is told and forgets it in time. Over a real Valkey, and over none."""

import math
from collections import Counter
from types import SimpleNamespace

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from tests.servers import free_port

from darkroom.live import meter as meter_module
from darkroom.live.meter import KEEP_S, PICTURES, SLOT_S, SLOTS, Measured, Meter, added, bucket, quantile


@pytest.fixture
def clock(monkeypatch):
    """Epoch seconds, to be set."""
    at = [1_000_000.0]
    monkeypatch.setattr(meter_module, "time", SimpleNamespace(time=lambda: at[0]))
    return at


def test_items_are_counted_by_batch_and_stage_in_the_slot_they_were_done_in(url, clock):
    meter = Meter(url)
    meter.computed("generate", "b1", 8, 0.8)
    meter.computed("generate", "b1", 8, 0.8)
    clock[0] += SLOT_S
    meter.computed("generate", "b1", 4, 0.4)
    meter.computed("inspect", "b/2", 1, 0.1)
    seen = meter.read()
    assert len(seen.slots) == SLOTS
    assert seen.slots[-1] == clock[0] // SLOT_S * SLOT_S
    assert seen.items["b1", "generate"][-2:] == [16, 4]
    assert seen.items["b/2", "inspect"][-1] == 1
    assert quantile(seen.item_s["generate"], 0.5) == pytest.approx(0.1, rel=0.05)


def test_what_is_older_than_half_an_hour_is_left_out_and_goes_by_itself(url, clock):
    meter = Meter(url)
    meter.chunk("generate", 12.0)
    assert meter.read().chunk_s["generate"].total() == 1
    clock[0] += SLOT_S * SLOTS
    assert meter.read().chunk_s == {}
    with redis.Redis.from_url(url) as client:
        assert all(0 < client.ttl(key) <= KEEP_S for key in client.keys("darkroom:meter:*"))


def test_the_last_pictures_are_kept_the_newest_first(url):
    meter = Meter(url)
    for number in range(PICTURES + 5):
        meter.picture(batch_id="b1", custom_id=str(number), at=float(number))
    told = meter.pictures()
    assert [one["custom_id"] for one in told] == [str(n) for n in range(PICTURES + 4, 4, -1)]


def test_without_redis_nothing_is_counted_and_nobody_fails():
    for url in ("", f"redis://127.0.0.1:{free_port()}/0"):
        meter = Meter(url)
        meter.computed("generate", "b1", 1, 0.1)
        meter.chunk("generate", 1.0)
        meter.picture(batch_id="b1")
        assert (meter.read(), meter.pictures()) == (Measured(), [])


@given(st.lists(st.floats(1e-3, 1e5), min_size=1), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_a_quantile_is_within_five_per_cent_of_the_true_one(seconds, share):
    truth = sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)]
    assert quantile(Counter(map(bucket, seconds)), share) == pytest.approx(truth, rel=0.05)


@given(st.floats(0, 1e12, allow_nan=False))
def test_the_buckets_are_few_whatever_is_measured(seconds):
    assert bucket(1e-4) <= bucket(seconds) <= bucket(1e6)
    assert bucket(1e6) - bucket(1e-4) < 243


def test_counters_of_a_later_version_are_left_out():
    assert added([{"new/generate/x": "3"}], (0.0,)) == Measured((0.0,))
