"""A batch in numbers: what it shows, and how long it takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from darkroom.commands.watching import drawn, duration, plain
from darkroom.live.snapshot import take
from darkroom.live.told import ChunkNow, PlanNow
from darkroom.views.outlook import outlook

NOW = 1_800_000_000.0


def chunk(host, done, items=100, state="running", age_s=100, **fields):
    """A chunk that was begun `age_s` ago and has told something now."""
    return ChunkNow(
        items, done, 0, 0, host, state, begun=NOW - age_s, updated=fields.pop("updated", NOW), **fields
    )


def look(*chunks, items=1000, flow="A", state="running", measured=None, waiting=None, rounds=()):
    plans = [PlanNow(flow, items, 3, 10, 2, begun=NOW - 200), *rounds]
    told = [(stage, f"{n:05d}", one) for n, (stage, one) in enumerate(chunks)]
    return outlook("b1", state, flow, take(plans, told, seen=NOW), measured or {}, waiting or {})


def test_hosts_share_a_batch_by_what_they_have_computed():
    seen = look(
        ("generate", chunk("fast", 60, busy_s=60.0)),
        ("generate", chunk("slow", 40, busy_s=100.0, reused=20)),
    )
    shares = {host.host: (host.share, host.seconds_per_item, host.items_per_s) for host in seen.hosts}
    assert shares == {"fast": (0.75, 1.0, 0.6), "slow": (0.25, 5.0, 0.2)}
    (stage,) = seen.stages
    assert (stage.done, stage.in_flight, stage.remaining, stage.items_per_s) == (100, 100, 900, 0.8)
    assert (seen.items, seen.rejects, seen.chunks, seen.shards, seen.round) == (1000, 3, 10, 2, 0)


def test_the_time_left_is_what_remains_at_the_pace_of_now():
    left = look(("generate", chunk("a", 60)), ("generate", chunk("b", 40))).time_left_s
    assert left.seconds == pytest.approx(900 / 1.0)
    assert left.low < left.seconds < left.high


def test_a_host_that_has_just_begun_is_taken_at_what_it_was_measured_before():
    seen = look(("generate", chunk("a", 0, age_s=1)), measured={"generate": {"a": 2.0}})
    assert seen.time_left_s.seconds == pytest.approx(2000)
    assert seen.hosts[0].seconds_per_item == 2.0


def test_of_a_host_the_time_left_is_that_of_the_chunks_that_it_has():
    at_work, idle = chunk("a", 60), chunk("b", 100, state="ended")
    seen = {host.host: host for host in look(("generate", at_work), ("generate", idle)).hosts}
    left = seen["a"].time_left_s
    assert left.seconds == pytest.approx(40 / 0.6)
    assert left.low < left.seconds < left.high
    assert seen["b"].time_left_s is None


def test_the_stage_that_needs_longest_decides():
    seen = look(("generate", chunk("g", 100)), ("inspect", chunk("i", 10)), flow="A_C")
    assert seen.time_left_s.seconds == pytest.approx(9900)


def test_a_stage_that_nobody_can_do_says_so_and_nobody_knows_how_long_it_takes():
    seen = look(("generate", chunk("g", 50)), flow="A_C", waiting={"inspect": "there is no server of it"})
    assert seen.waits == ["waits: no ready server of stage inspect (there is no server of it)"]
    assert seen.time_left_s is None
    assert seen.waits[0] in plain(seen)


def test_a_stage_whose_turn_comes_later_does_not_wait_for_a_server():
    seen = look(("generate", chunk("g", 50)), flow="A_C")
    assert seen.waits == []
    assert seen.time_left_s.seconds > 0


def test_work_that_is_done_waits_for_nobody():
    done = chunk("g", 1000, items=1000, state="ended")
    assert look(("generate", done), waiting={"generate": "there is no server of it"}).waits == []


@pytest.mark.parametrize("state", ["paused", "success", "failed", "cancelled"])
def test_what_stands_still_has_no_time_left(state):
    assert look(("generate", chunk("g", 50)), state=state).time_left_s is None


def test_before_the_plan_nothing_is_known():
    seen = outlook("b1", "planning", "A", take([], [], seen=NOW), {}, {})
    assert (seen.items, seen.time_left_s, seen.hosts) == (None, None, ())
    assert plain(seen) == "b1: planning; generate 0/?, 0 done"


def test_a_row_says_what_a_host_does():
    seen = look(
        ("generate", chunk("a", 10)),
        ("generate", chunk("b", 10, updated=NOW - 90)),
        ("generate", chunk("c", 10, state="stopped", reason="c is draining")),
        ("generate", chunk("d", 100, state="ended", updated=NOW - 500)),
    )
    assert [host.doing for host in seen.hosts] == [
        "chunk 00000", "chunk 00001, silent for 90 s", "c is draining", "idle"
    ]  # fmt: skip


def test_what_is_drawn_names_stages_hosts_state_and_time_left():
    rounds = [PlanNow("A_C", 5, chunks=1, round=1)]
    seen = look(("generate", chunk("generate-1@box", 50)), flow="A_C", state="running", rounds=rounds)
    console = Console(width=160, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(drawn(seen))
    text = captured.get()
    for told in ("b1", "A_C", "running", "1,000 items", "3 bad lines", "11 chunks", "2 shards", "round 1",
                 "50/1,000", "50 in flight", "generate-1@box", "100%", "chunk 00000", "left ("):  # fmt: skip
        assert told in text


@given(st.floats(0, 10**7))
def test_a_duration_has_two_units_at_most(seconds):
    words = duration(seconds).split()
    assert len(words) in (2, 4)
    assert words[1] in ("s", "min", "h", "d")


def test_durations_read_as_a_person_would_say_them():
    said = {45: "45 s", 720: "12 min", 7800: "2 h 10 min", 86400: "1 d 0 h", 274_000: "3 d 4 h"}
    assert {seconds: duration(seconds) for seconds in said} == said
