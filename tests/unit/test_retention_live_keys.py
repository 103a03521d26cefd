"""What nobody works on is forgotten in Redis, by age; what lives stays however old."""

import json
import time

import pytest
import redis
from tests.servers import free_port, valkey_server

from darkroom.control import Control
from darkroom.errors import PlantAway
from darkroom.progress import KEEP_S, PlanNow, Progress
from darkroom.rates import Rates
from darkroom.retention.live_keys import clean
from darkroom.retention.tally import DAY_S, Tally


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    with valkey_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def server(valkey):
    with redis.Redis.from_url(valkey, decode_responses=True) as client:
        client.flushall()
        yield client


def planned(server, valkey, batch_id, days_ago):
    """A batch whose progress was last told then."""
    Progress(valkey).plan(batch_id, PlanNow("A", 10))
    server.expire(f"darkroom:progress:{batch_id}", KEEP_S - days_ago * DAY_S)


def cleaned(valkey, live=(), days=7, dry_run=False):
    tally = Tally("keys in Redis", dry_run)
    clean(valkey, frozenset(live), time.time() - days * DAY_S, tally)
    return tally


def test_batches_that_nobody_works_on_are_forgotten_by_age(server, valkey):
    for name, days_ago in (("old", 8), ("lives", 8), ("young", 6)):
        planned(server, valkey, name, days_ago)
    tally = cleaned(valkey, live=["lives"])
    assert Progress(valkey).active() == ["lives", "young"]
    assert Progress(valkey).read("old").items is None
    assert [Progress(valkey).read(name).items for name in ("lives", "young")] == [10, 10]
    assert tally.size_bytes > 0
    assert abs(tally.oldest_s - (time.time() - 8 * DAY_S)) < 60


def test_a_batch_that_never_said_that_it_ended_is_active_no_more_when_its_progress_is_gone(server, valkey):
    server.sadd("darkroom:active", "lost", "lives")
    assert cleaned(valkey, live=["lives"]).count == 1
    assert Progress(valkey).active() == ["lives"]


def test_an_old_wish_goes_and_that_for_a_batch_that_lives_stays(server, valkey):
    for name in ("gone", "paused"):
        Control(valkey).pause(name)
        server.expire(f"darkroom:control:{name}", 90 * DAY_S - 50 * DAY_S)
    cleaned(valkey, live=["paused"])
    assert [Control(valkey).state(name) for name in ("gone", "paused")] == ["", "paused"]


def test_the_rates_of_hosts_that_are_silent_go_and_those_of_others_stay(server, valkey):
    Rates(valkey).tell("generate", "m", "works", 4, 2.0)
    silent = json.dumps([2.0, 4, 4, time.time() - 40 * DAY_S])
    server.hset("darkroom:rates:generate:m", "silent", silent)
    assert cleaned(valkey).count == 1
    assert server.hkeys("darkroom:rates:generate:m") == ["works"]


def test_only_to_look_removes_nothing(server, valkey):
    planned(server, valkey, "old", 8)
    assert cleaned(valkey, dry_run=True).count == 1
    assert Progress(valkey).read("old").items == 10
    assert Progress(valkey).active() == ["old"]


def test_a_redis_that_does_not_answer_is_said_and_may_be_tried_again():
    with pytest.raises(PlantAway, match="Redis does not answer") as found:
        cleaned(f"redis://127.0.0.1:{free_port()}/0")
    assert found.value.retryable
