"""Whose fault it is when everything fails."""

import pytest

from darkroom.chunks.doubt import MISHAPS, doubt
from darkroom.errors import BatchSuspect, HostSuspect
from darkroom.fleet.fence import is_hosts_fault
from darkroom.live.snapshot import HostNow
from darkroom.live.told import Counts
from darkroom.records import ErrorInfo, Result, Status

GOOD = Result(custom_id="a", status=Status.COMPLETED, flow="A")
BAD = GOOD.model_copy(update={"status": Status.FAILED, "error": ErrorInfo(code="stage_failed", message="no")})
INVALID = BAD.model_copy(update={"error": ErrorInfo(code="invalid_item", message="its own fault")})


def other(done=0, failed=0):
    return HostNow("other", "generate", Counts(done, 0, failed), 0, 0.0, 0, (), 0, (), 0.0, 0.0, 0.0)


def suspected(latest, *others):
    with pytest.raises(HostSuspect) as caught:
        doubt(latest, "here", lambda: others)
    return is_hosts_fault(caught.value)


@pytest.mark.parametrize("latest", [[], [GOOD], [BAD, GOOD], [BAD, INVALID]])
def test_one_item_that_went_well_or_was_bad_itself_clears_the_host_and_nobody_is_asked(latest):
    doubt(latest, "here", lambda: pytest.fail("asked"))


def test_where_the_others_do_well_it_is_the_hosts_fault():
    assert suspected([BAD], other(done=1, failed=5))


def test_while_nobody_knows_many_in_a_row_are_the_hosts_fault_and_few_are_not():
    assert suspected([BAD] * MISHAPS)
    assert not suspected([BAD] * (MISHAPS - 1))


def test_where_it_fails_elsewhere_too_no_host_is_blamed():
    assert not suspected([BAD] * MISHAPS, other(failed=1), other())


def test_what_fails_at_the_end_of_a_chunk_is_tried_elsewhere_before_it_is_blamed_and_no_host_is():
    with pytest.raises(BatchSuspect, match="1 of the latest 2 items failed on here"):
        doubt([BAD, GOOD], "here", lambda: [other(done=1)], ended=True)


def test_where_items_fail_elsewhere_too_a_failure_at_the_end_of_a_chunk_is_the_items_own():
    doubt([BAD, GOOD], "here", lambda: [other(done=1, failed=1)], ended=True)


def test_another_try_elsewhere_helps_either_way():
    assert HostSuspect.retryable
    assert BatchSuspect.retryable
