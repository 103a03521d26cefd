"""The fence of a server whose host fails: over real files, with a clock of its own."""

from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.errors import InvalidItem, ServerAway, ServerBusy, ServerTimeout, StoreUnavailable, WrongWeights
from darkroom.fleet.fence import (
    FIRST_FENCE_S,
    LONGEST_FENCE_S,
    STRIKES,
    Fence,
    fence_file,
    fence_s,
    is_hosts_fault,
)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fence(tmp_path, clock):
    return Fence(fence_file(tmp_path, "generate-1"), clock)


def fenced_again(fence: Fence, clock: Clock) -> float:
    """Fails until it is fenced, then lifts that as soon as may be; seconds for which it stood."""
    while (fenced := fence.strike("broken")) is None:
        pass
    clock.now = fenced.until
    assert fence.lift(clock.now)
    return fenced.until - fenced.since


def test_one_failure_fences_nobody(fence):
    assert fence.strike("out of memory") is None
    assert fence.fenced() is None


def test_two_failures_in_a_row_fence(fence, clock):
    fence.strike("out of memory")
    fenced = fence.strike("no such device")
    assert fenced == fence.fenced()
    assert fenced.reason == "no such device"
    assert fenced.strikes == STRIKES
    assert (fenced.since, fenced.until) == (clock.now, clock.now + FIRST_FENCE_S)


def test_a_chunk_that_goes_well_between_two_failures_keeps_the_server_at_work(fence):
    for _ in range(5):
        fence.strike("bad luck")
        fence.clear()
    assert fence.fenced() is None


def test_a_fence_needs_both_its_time_and_a_canary_asked_since(fence, clock):
    fence.strike("a")
    until = fence.strike("b").until
    clock.now = until + 5
    assert not fence.lift(asked=until - 1)
    assert fence.fenced()
    assert fence.lift(asked=until)
    assert fence.fenced() is None


def test_a_server_that_fails_right_after_its_fence_is_fenced_at_once_and_for_longer(fence, clock):
    stood = [fenced_again(fence, clock) for _ in range(8)]
    assert stood == [30, 60, 120, 240, 480, 900, 900, 900]
    assert fence.strike("once more") is not None


def test_a_chunk_that_goes_well_after_the_fence_forgets_all(fence, clock):
    fenced_again(fence, clock)
    fence.clear()
    assert fence.strike("bad luck") is None
    assert fenced_again(fence, clock) == FIRST_FENCE_S


def test_what_began_before_the_fence_neither_lifts_nor_prolongs_it(fence):
    fence.strike("a")
    fenced = fence.strike("b")
    fence.clear()
    assert fence.strike("c") == fenced == fence.fenced()


def test_a_fence_by_hand_is_lifted_by_hand_only(fence, clock):
    fence.put_up("fan is loud")
    clock.now += 10 * LONGEST_FENCE_S
    assert not fence.lift(clock.now)
    fence.clear()
    assert fence.fenced().reason == "fan is loud"
    assert fence.take_down()
    assert fence.fenced() is None
    assert not fence.take_down()


def test_a_clock_that_was_set_back_does_not_prolong_a_fence(fence, clock):
    fence.strike("a")
    fence.strike("b")
    clock.now -= 86_400
    assert fence.lift(clock.now)


def test_a_fence_stands_after_its_process_has_ended(fence, tmp_path):
    fence.strike("a")
    fence.strike("b")
    assert Fence(fence_file(tmp_path, "generate-1")).fenced() == fence.fenced()
    assert Fence(fence_file(tmp_path, "generate-2")).fenced() is None


def _strike(path: Path) -> None:
    Fence(path).strike("at once")


def test_strikes_of_several_lanes_at_once_are_all_counted(tmp_path):
    path = fence_file(tmp_path, "generate-1")
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_strike, [path] * 40))
    assert '"strikes": 40' in path.read_text()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"strikes": "many"}', '{"fenced": {"reason": 1}}'])
def test_a_file_that_cannot_be_read_fences_nobody(fence, tmp_path, text):
    path = fence_file(tmp_path, "generate-1")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert fence.fenced() is None
    fence.strike("a")
    assert fence.strike("b") is not None


def test_a_fence_that_cannot_be_written_fails_no_chunk(tmp_path):
    (tmp_path / "run").write_text("not a folder")
    fence = Fence(fence_file(tmp_path, "generate-1"))
    assert fence.strike("a") is None
    assert fence.strike("b") is None
    fence.clear()


@given(st.integers(0, 10_000))
def test_each_fence_in_a_row_is_at_least_as_long_as_the_one_before(fences):
    lengths = [fence_s(fences + n) for n in range(3)]
    assert all(one <= other for one, other in pairwise(lengths))
    assert all(FIRST_FENCE_S <= length <= LONGEST_FENCE_S for length in lengths)


@pytest.mark.parametrize(
    ("error", "hosts"),
    [
        (ServerAway("down"), True), (ServerTimeout("hangs"), True), (WrongWeights("torn"), True),
        (OSError(28, "no space left"), True), (MemoryError(), True),
        (ServerBusy("full"), False), (StoreUnavailable("503"), False), (InvalidItem("size"), False),
        (ValueError("ours"), False),
    ],
)  # fmt: skip
def test_only_what_speaks_against_the_host_is_a_strike(error, hosts):
    assert is_hosts_fault(error) is hosts
