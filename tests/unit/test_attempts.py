"""How long an item waits between two tries."""

from hypothesis import given
from hypothesis import strategies as st

from darkroom.chunks.attempts import _backoff_s


@given(st.integers(0, 30))
def test_the_wait_is_jittered_below_a_limit_that_doubles_up_to_5_seconds(tries):
    waits = [_backoff_s(tries) for _ in range(50)]
    assert all(0.05 <= wait <= min(5.0, 0.2 * 2**tries) for wait in waits)
    assert len(set(waits)) > 1
