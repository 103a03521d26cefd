"""What nobody works on is forgotten in Redis, by age; what lives stays however old."""

import json
import time

import pytest
import redis
from tests.servers import free_port

from darkroom.errors import PlantAway
from darkroom.live.control import Control
from darkroom.live.progress import KEEP_S, PlanNow, Progress
from darkroom.live.rates import Rates
from darkroom.retention.live_keys import clean
from darkroom.retention.tally import DAY_S, Tally


@pytest.fixture
def server(url):
    with redis.Redis.from_url(url, decode_responses=True) as client:
        yield client


def planned(server, url, batch_id, days_ago):
    """A batch whose progress was last told then."""
    Progress(url).plan(batch_id, PlanNow("A", 10))
    server.expire(f"darkroom:progress:{batch_id}", KEEP_S - days_ago * DAY_S)


def cleaned(url, live=(), days=7, dry_run=False):
    tally = Tally("keys in Redis", dry_run)
    clean(url, frozenset(live), time.time() - days * DAY_S, tally)
    return tally


def test_batches_that_nobody_works_on_are_forgotten_by_age(server, url):
    for name, days_ago in (("old", 8), ("lives", 8), ("young", 6)):
        planned(server, url, name, days_ago)
    tally = cleaned(url, live=["lives"])
    assert Progress(url).active() == ["lives", "young"]
    assert Progress(url).read("old").items is None
    assert [Progress(url).read(name).items for name in ("lives", "young")] == [10, 10]
    assert tally.size_bytes > 0
    assert abs(tally.oldest_s - (time.time() - 8 * DAY_S)) < 60


def test_a_batch_that_never_said_that_it_ended_is_active_no_more_when_its_progress_is_gone(server, url):
    server.sadd("darkroom:active", "lost", "lives")
    assert cleaned(url, live=["lives"]).count == 1
    assert Progress(url).active() == ["lives"]


def test_an_old_wish_goes_and_that_for_a_batch_that_lives_stays(server, url):
    for name in ("gone", "paused"):
        Control(url).pause(name)
        server.expire(f"darkroom:control:{name}", 90 * DAY_S - 50 * DAY_S)
    cleaned(url, live=["paused"])
    assert [Control(url).state(name) for name in ("gone", "paused")] == ["", "paused"]


def test_the_rates_of_hosts_that_are_silent_go_and_those_of_others_stay(server, url):
    Rates(url).tell("generate", "m", "works", 4, 2.0)
    silent = json.dumps([2.0, 4, 4, time.time() - 40 * DAY_S])
    server.hset("darkroom:rates:generate:m", "silent", silent)
    assert cleaned(url).count == 1
    assert server.hkeys("darkroom:rates:generate:m") == ["works"]


def test_only_to_look_removes_nothing(server, url):
    planned(server, url, "old", 8)
    assert cleaned(url, dry_run=True).count == 1
    assert Progress(url).read("old").items == 10
    assert Progress(url).active() == ["old"]


def test_a_redis_that_does_not_answer_is_said_and_may_be_tried_again():
    with pytest.raises(PlantAway, match="Redis does not answer") as found:
        cleaned(f"redis://127.0.0.1:{free_port()}/0")
    assert found.value.retryable
