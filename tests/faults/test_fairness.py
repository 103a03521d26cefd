"""Two bulk batches share the fleet: the second does not wait for the first, nor the first for the second."""

from tests.faults.conftest import done
from tests.faults.outcome import complete
from tests.stack.plant import until

ITEMS = 480


def test_two_bulk_batches_share_the_fleet(submit):
    first = submit(ITEMS, made=100, priority="bulk")
    second = submit(ITEMS, made=100, priority="bulk")
    assert done(first.batch_id) < ITEMS, "the second waited for the first"
    until(lambda: done(second.batch_id) >= 300, "the second is well on its way")
    assert done(first.batch_id) > 150, "the first waited for the second"
    for run in (first, second):
        complete(run, ITEMS)
