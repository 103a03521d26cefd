"""What a lane measures reaches the rates, the meter and the totals, by one call."""

import redis

from darkroom.flows import STAGES
from darkroom.live.measures import Measures
from darkroom.live.meter import Meter
from darkroom.live.rates import Rates
from darkroom.live.totals import Totals
from darkroom.records import Result, Status

GENERATE = STAGES["generate"]


def computed(custom_id, **told):
    return Result(
        custom_id=custom_id, status=Status.COMPLETED, flow="A", seed=1, details={"stages": {"generate": told}}
    )


RESULTS = [
    computed("a", attempts=1, busy_s=0.5),
    computed("b", attempts=1, busy_s=1.5),
    computed("c", attempts=0),
]


def tell(measures):
    measures.computed(GENERATE, "b1", "generate-1@box", RESULTS)


def test_rates_meter_and_totals_hear_of_what_the_model_computed_and_of_nothing_else(url):
    tell(Measures(url))
    assert Rates(url).read("generate", GENERATE.model)["generate-1@box"].items == 2
    assert Meter(url).read().items["b1", "generate"][-1] == 2
    assert Totals(url).read()["model_s", "generate", ""] == 2


def test_a_chunk_that_has_ended_is_measured_and_counted(url):
    Measures(url).ended("generate", RESULTS, 12.0)
    assert Meter(url).read().chunk_s["generate"].total() == 1
    assert Totals(url).read()["items", "generate", "completed"] == 3


def test_a_batch_costs_one_round_trip(url):
    with redis.Redis.from_url(url) as client:
        for tell_it in (tell, lambda measures: measures.ended("generate", RESULTS, 1.0)):
            tell_it(measures := Measures(url))  # connects
            before = client.info("stats")["total_reads_processed"]
            tell_it(measures)
            asked_here = 1
            assert client.info("stats")["total_reads_processed"] - before == 1 + asked_here


def test_without_redis_nothing_is_told_and_nobody_fails():
    for nowhere in (Measures(""), Measures("redis://127.0.0.1:1/0")):
        tell(nowhere)
        nowhere.ended("generate", RESULTS, 1.0)
        nowhere.picture(batch_id="b1")
