"""No assignment of the same work to the same hosts beats the bound, and a perfect one meets it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.results.bounds import lower_bound_s

hosts = st.lists(st.tuples(st.integers(0, 1000), st.floats(0.01, 100)), min_size=1, max_size=8)


@given(hosts)
def test_no_assignment_ends_earlier(drawn):
    done = {f"h{n}": (items, items * each_s) for n, (items, each_s) in enumerate(drawn)}
    assert max(busy_s for _, busy_s in done.values()) >= lower_bound_s(done) * (1 - 1e-9)


@given(st.floats(1, 1e6), st.lists(st.integers(1, 1000), min_size=1, max_size=8))
def test_hosts_that_worked_all_the_time_together_meet_it(elapsed_s, items):
    assert lower_bound_s({str(n): (count, elapsed_s) for n, count in enumerate(items)}) == pytest.approx(
        elapsed_s
    )


def test_without_measured_work_there_is_no_bound():
    assert lower_bound_s({}) == 0.0
    assert lower_bound_s({"h": (0, 0.0)}) == 0.0
    assert lower_bound_s({"h": (5, 0.0), "other": (5, 5.0)}) == 0.0
    assert lower_bound_s({"h": (0, 0.0), "other": (5, 5.0)}) == 5.0
