"""A look at the plant adds up what servers and chunks tell, and what Airflow says. Over a real Valkey."""

import time
from dataclasses import replace

import pytest
import redis
from tests.servers import free_port
from tests.unit.live_plant import chunk, running, server, two_batches

from darkroom.flows import STAGES
from darkroom.live.control import Control
from darkroom.live.meter import Meter
from darkroom.live.progress import PlanNow, Progress
from darkroom.live.rates import Rates
from darkroom.serving.status import State
from darkroom.views.overview import Overview
from darkroom.views.stations import Airflow, ChunksNow
from darkroom.views.survey import HOSTS, SHOWN, Surveyor


@pytest.fixture
def plant(url):
    return two_batches(url)


def by_stage(seen):
    return {one.stage: one for one in seen.stages}


def test_items_in_front_of_a_stage_are_those_that_have_come_and_are_in_no_chunk(url, plant):
    inspect = by_stage(Surveyor(url, url).look(plant))["inspect"]
    assert (inspect.items_remaining, inspect.items_in_flight, inspect.items_waiting) == (140, 20, 20)
    generate = by_stage(Surveyor(url, url).look(plant))["generate"]
    assert (generate.items_remaining, generate.items_in_flight, generate.items_waiting) == (100, 0, 100)


def test_chunks_lanes_and_waits_are_told_side_by_side(url, plant):
    with redis.Redis.from_url(url) as broker:
        broker.lpush("gpu.inspect", "x", "y")
        broker.lpush("gpu.inspect.now", "z")
    inspect = by_stage(Surveyor(url, url).look(plant))["inspect"]
    assert (inspect.waiting.scheduler, inspect.waiting.broker, inspect.running) == (3, 3, 2)
    assert (inspect.lanes.busy, inspect.lanes.idle) == (2, 0)
    assert (inspect.wait.measured_s, inspect.wait.longest_s) == (4.0, 9.0)
    # Each of the two has finished 30 items in 30 s.
    assert inspect.items_per_s_out == pytest.approx(2.0, rel=0.1)
    assert inspect.wait.expected_s == pytest.approx(20 / 2.0, rel=0.1)
    assert inspect.utilisation == pytest.approx(1.0, abs=0.05)


def test_the_slowest_stage_is_named_and_another_server_of_it_is_foreseen(url, plant):
    seen = Surveyor(url, url).look(plant)
    # Generate has 100 items for one server of 1 s, inspect 140 for two.
    assert (seen.bottleneck.kind, seen.bottleneck.stage) == ("stage", "generate")
    stages = by_stage(seen)
    assert stages["generate"].more.change < -0.2
    assert stages["generate"].more.bottleneck == "inspect"
    assert stages["inspect"].more.change == pytest.approx(0, abs=0.02)
    assert stages["generate"].fewer.time_left_s is None
    assert stages["inspect"].fewer.servers == 1
    assert stages["inspect"].fewer.change > 0.2


def test_a_pause_between_two_batches_makes_no_server_slower(url):
    server(url, "generate-1")
    Rates(url).tell("generate", STAGES["generate"].model, "generate-1@box", 30, 30.0)
    Progress(url).plan("old", PlanNow("A", 2, chunks=1))
    a_minute_ago = chunk(2, 2, "generate-1@box", "ended", begun_s=55)
    Progress(url).report("old", "generate", "00000", replace(a_minute_ago, updated=time.time() - 53))
    Progress(url).end("old", "success")
    Progress(url).plan("new", PlanNow("A", 131, chunks=4))
    Progress(url).report("new", "generate", "00000", chunk(32, 31, "generate-1@box", begun_s=31))
    seen = Surveyor(url, url).look(Airflow(running("new", flow="A"), {"generate": ChunksNow(3, running=1)}))
    assert seen.bottleneck.time_left_s == pytest.approx(100, rel=0.05)


def test_a_paused_batch_waits_for_no_server(url, plant):
    Control(url).pause("b1")
    Control(url).pause("b2")
    seen = Surveyor(url, url).look(plant)
    assert seen.bottleneck.kind == "none"
    assert [one.outlook.state for one in seen.batches] == ["paused", "paused"]
    assert by_stage(seen)["inspect"].items_remaining == 0


def test_a_stage_whose_servers_are_all_fenced_has_none(url, plant):
    server(url, "generate-1", State.FENCED, reason="two chunks failed", lanes=2)
    seen = Surveyor(url, url).look(plant)
    generate = by_stage(seen)["generate"]
    assert (generate.servers.fenced, generate.lanes.fenced, generate.lanes.idle) == (1, 2, 0)
    assert (seen.bottleneck.kind, seen.bottleneck.stage) == ("no_server", "generate")
    assert "two chunks failed" in seen.bottleneck.sentence
    assert (generate.utilisation, generate.fewer, generate.more.servers) == (None, None, 1)
    assert seen.bottleneck.time_left_s is None


def test_each_server_is_told_with_what_it_does_and_how_fast_beside_its_usual_speed(url, plant):
    told = {one.server: one for one in Surveyor(url, url).look(plant).servers}
    one = told["inspect-1@box"]
    assert [(at.batch_id, at.chunk_id) for at in one.chunks] == [("b1", "00001")]
    assert one.usual_items_per_s == pytest.approx(1.0)
    assert one.items_per_s == pytest.approx(1.0, rel=0.1)
    assert told["generate-1@box"].chunks == []


def test_rates_over_time_quantiles_and_pictures_come_from_the_meter(url, plant):
    meter = Meter(url)
    meter.computed("inspect", "b1", 40, 40.0)
    for seconds in (10.0, 10.0, 30.0):
        meter.chunk("inspect", seconds)
    picture = dict(batch_id="b1", custom_id="i", stage="inspect", status="rejected", path="images/x", at=1.0)  # noqa: C408
    meter.picture(**picture)
    seen = Surveyor(url, url).look(plant)
    told = next(one for one in seen.batches if one.outlook.batch_id == "b1")
    assert sum(told.items_per_s["inspect"]) * seen.slot_s == pytest.approx(40)
    assert {len(values) for values in told.items_per_s.values()} == {len(seen.slots)}
    inspect = by_stage(seen)["inspect"]
    assert inspect.chunk_s.count == 3
    assert inspect.chunk_s.p50 == pytest.approx(10, rel=0.05)
    assert inspect.chunk_s.p95 == pytest.approx(30, rel=0.05)
    assert [one.model_dump() for one in seen.pictures] == [picture]


def test_a_batch_that_has_ended_is_shown_for_a_while_and_counts_no_more(url, plant):
    Progress(url).end("b2", "success")
    seen = Surveyor(url, url).look(Airflow(running("b1"), plant.chunks))
    assert [(one.outlook.batch_id, one.outlook.state) for one in seen.batches] == [
        ("b1", "running"), ("b2", "success")
    ]  # fmt: skip
    assert seen.batches[1].ended == pytest.approx(time.time(), abs=60)
    assert by_stage(seen)["inspect"].items_remaining == 70


def test_a_batch_that_nobody_works_on_any_more_is_left_out(url):
    Progress(url).plan("lost", PlanNow("A_C", 100))
    seen = Surveyor(url, url).look(Airflow())
    assert (seen.batches, seen.bottleneck.kind) == ([], "none")


def test_a_batch_that_is_being_planned_is_there(url):
    seen = Surveyor(url, url).look(Airflow(running("b1", flow="A")))
    assert [(one.outlook.batch_id, one.outlook.state) for one in seen.batches] == [("b1", "planning")]
    assert seen.batches[0].run_id == "b1"


def test_more_batches_than_a_page_can_bear_are_counted(url):
    names = [f"b{n:03d}" for n in range(SHOWN + 7)]
    for name in names:
        Progress(url).plan(name, PlanNow("A", 10))
    seen = Surveyor(url, url).look(Airflow(running(*names, flow="A")))
    assert (len(seen.batches), seen.batches_left_out) == (SHOWN, 7)
    assert by_stage(seen)["generate"].items_remaining == 10 * len(names)


def test_of_a_batch_the_hosts_with_the_largest_shares_are_told(url):
    Progress(url).plan("b1", PlanNow("A", 1000))
    for number in range(HOSTS + 5):
        done = chunk(100, 10 + number, f"generate-{number}@box", busy_s=1.0)
        Progress(url).report("b1", "generate", f"{number:05d}", done)
    (told,) = Surveyor(url, url).look(Airflow(running("b1", flow="A"))).batches
    assert (len(told.outlook.hosts), told.hosts_left_out) == (HOSTS, 5)
    assert [host.done for host in told.outlook.hosts] == sorted(range(15, 10 + HOSTS + 5), reverse=True)


def test_the_last_progress_is_that_of_any_host_also_of_one_that_is_left_out(url):
    Progress(url).plan("b1", PlanNow("A_C", 1000))
    for number in range(HOSTS):
        done = replace(chunk(100, 100, f"generate-{number}@box", "ended"), updated=time.time() - 600)
        Progress(url).report("b1", "generate", f"{number:05d}", done)
    for number in range(2 * HOSTS):
        judged = chunk(50, 40 - number, f"inspect-{number}@box", busy_s=1.0)
        Progress(url).report("b1", "inspect", f"{number:05d}", judged)
    seen = Surveyor(url, url).look(Airflow(running("b1")))
    assert {host.stage for host in seen.batches[0].outlook.hosts} == {"generate"}
    assert seen.last_progress == pytest.approx(time.time(), abs=60)
    assert Surveyor(url, url).look(Airflow()).last_progress == seen.last_progress


def test_who_does_not_answer_is_said():
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    seen = Surveyor(nobody, nobody).look(Airflow(running("b1")))
    assert (seen.unknown, seen.servers) == (["redis", "broker"], [])
    assert seen.bottleneck.sentence == "Redis does not answer, so nobody knows what waits."


def test_what_is_told_can_be_read_back(url, plant):
    seen = Surveyor(url, url).look(plant)
    assert Overview.model_validate_json(seen.model_dump_json()) == seen
