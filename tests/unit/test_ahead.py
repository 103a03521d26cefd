"""Results come in order, bounded in number, and an error or an early end stops what has not begun."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.store.ahead import ahead


@given(st.lists(st.integers()), st.integers(1, 5), st.integers(1, 4))
def test_it_is_map(values, window, threads):
    assert list(ahead(lambda value: value + 1, values, window, threads)) == [value + 1 for value in values]


def test_no_more_is_begun_than_the_window_allows():
    begun = []
    results = ahead(lambda value: begun.append(value) or value, range(100), window=4)
    assert [next(results), next(results)] == [0, 1]
    results.close()
    assert max(begun) < 6


def test_an_error_reaches_the_caller_in_its_turn():
    def fail(value):
        if value == 1:
            raise ValueError("no")
        return value

    results = ahead(fail, range(100), window=8)
    assert next(results) == 0
    with pytest.raises(ValueError, match="no"):
        next(results)
