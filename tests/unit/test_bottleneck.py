"""The sentence names what the batches wait for, with its evidence, and never promises what would not help."""

import pytest

from darkroom.views.bottleneck import PATIENCE_S, bottleneck
from darkroom.views.overview import Lanes, Servers, StageNow, Wait, Waiting, WhatIf


def stage(name="inspect", **changes):
    usual = StageNow(
        stage=name, summary="", model="m", servers=Servers(ready=2, fenced=0, other=0),
        lanes=Lanes(busy=2, idle=0, fenced=0), waiting=Waiting(scheduler=14, broker=0, put_back=0, paused=0),
        running=2, items_waiting=140, items_in_flight=20, items_remaining=160, items_per_s_in=2.0,
        items_per_s_out=1.0, seconds_per_item=1.0, item_s=None, chunk_s=None, utilisation=0.98,
        wait=Wait(expected_s=140.0, measured_s=70.0, longest_s=80.0), why_none="", time_left_s=80.0,
        fewer=None, more=what_if(-0.46),
    )  # fmt: skip
    return usual.model_copy(update=changes)


def what_if(change, then="inspect"):
    return WhatIf(servers=3, time_left_s=50.0, change=change, wait_s=40.0, bottleneck=then)


def test_a_stage_is_named_with_what_waits_how_busy_it_is_and_what_one_more_would_buy():
    told = bottleneck([stage()], 4, 80.0, "inspect")
    assert told.sentence == (
        "inspect is the bottleneck: 14 chunks wait, its 2 servers are 98 % busy; "
        "one more ends the running batches 46 % sooner."
    )
    assert (told.kind, told.stage, told.chunks_waiting, told.servers) == ("stage", "inspect", 14, 2)


def test_one_of_each_reads_as_english():
    alone = stage(
        servers=Servers(ready=1, fenced=0, other=0),
        waiting=Waiting(scheduler=0, broker=1, put_back=0, paused=0),
        more=what_if(-0.004, "generate"),
    )
    assert bottleneck([alone], 1, 80.0, "inspect").sentence == (
        "inspect is the bottleneck: 1 chunk waits, its only server is 98 % busy; "
        "one more would not end the running batches sooner, as generate needs as long."
    )


def test_servers_that_compute_little_though_their_lanes_are_taken_are_said_to_lose_the_rest():
    told = bottleneck([stage(utilisation=0.21)], 4, 80.0, "inspect")
    assert (
        "its 2 servers are 21 % busy, and the rest is lost between items and chunks; one more"
        in told.sentence
    )


def test_a_stage_without_a_server_goes_before_all_else():
    without = stage(
        "enhance", why_none="there is no server of it", servers=Servers(ready=0, fenced=0, other=0)
    )
    told = bottleneck([stage(), without], 2, None, "enhance")
    assert (told.kind, told.stage, told.time_left_s) == ("no_server", "enhance", None)
    assert told.sentence == "enhance has no server, and 14 chunks wait for one: there is no server of it."


@pytest.mark.parametrize(("longest_s", "kind"), [(PATIENCE_S + 1, "plant"), (PATIENCE_S - 1, "stage")])
def test_idle_lanes_while_chunks_wait_for_long_are_the_plants_own_fault(longest_s, kind):
    idle = stage(
        lanes=Lanes(busy=1, idle=3, fenced=0), utilisation=0.3,
        wait=Wait(expected_s=None, measured_s=None, longest_s=longest_s),
    )  # fmt: skip
    told = bottleneck([idle], 1, 80.0, "inspect")
    assert told.kind == kind
    if kind == "plant":
        assert "3 of its 4 lanes stand idle; another server would not help" in told.sentence


def test_where_nothing_is_left_nothing_is_named():
    assert bottleneck([], 0, 0.0, None).sentence == "Nothing waits for a server: no batch is running."
    told = bottleneck([stage(items_remaining=0)], 2, 0.0, None)
    assert (told.kind, told.stage) == ("none", None)
    assert "being planned or collected" in told.sentence
