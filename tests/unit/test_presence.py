"""Who counts and who takes chunks, as time passes: a clock of its own, no servers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.fleet.presence import PATIENCE_S, Presence
from darkroom.serving.status import ServerStatus, State

WORKER = "generate-1@h1"
GRACE_S = 90.0


def server(state: State) -> ServerStatus:
    return ServerStatus(
        name="generate-1",
        host="h1",
        stage="generate",
        model="m@1",
        implementation="m:M",
        state=state,
        lanes=2,
    )


def taking(presence: Presence) -> dict[str, bool]:
    return {status.worker: takes for status, takes in presence.taking()}


def after(*looks: tuple[float, State | None]) -> Presence:
    """A presence that has seen the server in those states, or not at all (None), at those times."""
    presence = Presence(GRACE_S)
    for now, state in looks:
        presence.see([server(state)] if state else [], now)
    return presence


def test_a_server_counts_while_it_is_ready():
    presence = after((0, State.READY), (100, State.READY))
    assert [one.worker for one in presence.counting()] == [WORKER]
    assert taking(presence) == {WORKER: True}


@pytest.mark.parametrize("state", [State.WAITING, State.LOADING, State.STOPPED, None])
def test_a_server_that_restarts_is_brought_chunks_for_a_while(state):
    assert after((0, State.READY), (PATIENCE_S - 1, state)).counting()
    presence = after((0, State.READY), (PATIENCE_S, state))
    assert taking(presence) == {WORKER: False}


@pytest.mark.parametrize("state", [State.WAITING, State.LOADING])
def test_a_server_that_restarts_counts_as_long_as_its_chunks_hold_slots(state):
    presence = after((0, State.READY), (PATIENCE_S, state), (GRACE_S / 2, state))
    assert presence.counting()
    presence.see([server(state)], GRACE_S - 10)
    assert not presence.counting(), "it counts when its chunks give way: their slots have no lane"
    presence.see([server(State.READY)], GRACE_S)
    presence.see([server(state)], GRACE_S + PATIENCE_S)
    assert presence.counting()


@pytest.mark.parametrize("state", [State.STOPPED, State.DRAINING, None])
def test_a_server_that_has_gone_counts_no_longer_than_it_is_brought_chunks(state):
    assert not after((0, State.READY), (PATIENCE_S, state)).counting()


def test_a_server_that_was_never_ready_does_not_count_but_its_worker_is_left_alone_at_first():
    presence = after((0, State.LOADING))
    assert presence.counting() == []
    assert taking(presence) == {WORKER: True}
    presence.see([server(State.LOADING)], PATIENCE_S)
    assert taking(presence) == {WORKER: False}


def test_a_fenced_server_is_out_at_once_also_when_it_then_restarts():
    presence = after((0, State.READY), (1, State.FENCED))
    assert presence.counting() == []
    assert taking(presence) == {WORKER: False}
    presence.see([server(State.LOADING)], 2)
    assert presence.counting() == []
    assert taking(presence) == {WORKER: False}
    presence.see([server(State.READY)], 3)
    assert presence.counting()
    assert taking(presence) == {WORKER: True}


def test_nobody_is_blamed_for_a_time_in_which_the_fleet_could_not_be_asked():
    presence = after((0, State.READY))
    presence.blink()
    presence.see([], 100)
    assert presence.counting()
    presence.see([], 100 + PATIENCE_S)
    assert not presence.counting()


def test_a_fence_holds_over_a_time_in_which_the_fleet_could_not_be_asked():
    presence = after((0, State.READY), (1, State.FENCED))
    presence.blink()
    presence.see([], 100)
    assert taking(presence) == {WORKER: False}


def test_who_has_gone_for_long_is_asked_for_no_more():
    presence = after((0, State.READY), (500, None))
    assert WORKER in taking(presence)
    presence.see([], 700)
    assert taking(presence) == {}


def test_who_is_missing_is_known_after_a_while_of_looking():
    presence = after((0, None), (PATIENCE_S - 1, None))
    assert not presence.knows_who_is_missing()
    presence.see([], PATIENCE_S)
    assert presence.knows_who_is_missing()
    presence.blink()
    presence.see([], PATIENCE_S + 1)
    assert not presence.knows_who_is_missing()


_LOOKS = st.lists(st.tuples(st.floats(0.1, 30), st.sampled_from([*State, None])), min_size=1, max_size=30)


@given(_LOOKS)
def test_who_counts_takes_chunks_or_restarts_who_is_ready_counts_and_who_is_fenced_does_neither(looks):
    presence, now = Presence(GRACE_S), 0.0
    for later, state in looks:
        now += later
        presence.see([server(state)] if state else [], now)
        counts = bool(presence.counting())
        takes = taking(presence).get(WORKER, False)
        assert takes or not counts or state in (State.LOADING, State.WAITING)
        if state is State.READY:
            assert counts
        if state is State.FENCED:
            assert not takes
