"""The log of a chunk says what it took, what came of it and where that lies."""

from darkroom.chunks.report import Report
from darkroom.records import ErrorInfo, Result, Status, Verdict


def result(name, status, attempts, **fields):
    told = {"generate": {"attempts": attempts, "busy_s": 0.5 * attempts}} if attempts is not None else {}
    return Result(custom_id=name, status=status, flow="A_C", details={"stages": told}, **fields)


def test_the_last_lines_tell_work_outcomes_reasons_and_the_place():
    blank = Verdict(accepted=False, reasons=["blank", "too_dark"])
    boom = ErrorInfo(code="stage_failed", message="boom")
    part = [
        result("a", Status.COMPLETED, 1),
        result("b", Status.COMPLETED, 0),
        result("c", Status.REJECTED, 1, verdict=blank),
        result("d", Status.FAILED, 3, error=boom),
        result("e", Status.FAILED, 3, error=boom),
        result("f", Status.FAILED, None, error=ErrorInfo(code="invalid_item", message="no picture")),
    ]
    report = Report.of(8, part, "generate", "file:///store/part.parquet", True, 4.04)
    assert list(report.lines()) == [
        "4 computed in 8 requests, 4.0 s of the model's time; 1 were there already",
        "2 completed, 1 rejected, 3 failed, 2 left over, in 4.0 s "
        "(stage_failed: 2; blank: 1; too_dark: 1; invalid_item: 1)",
        "results: file:///store/part.parquet",
    ]
    assert report.figures == {
        "items": 8, "completed": 2, "rejected": 1, "failed": 3, "undone": 2, "computed": 4, "found": 1,
        "tries": 8, "busy_s": 4.0, "duration_s": 4.04,
    }  # fmt: skip
    assert (
        str(report) == "8 items: 2 completed, 1 rejected, 3 failed, 2 left over, in 4.0 s"
        and report.out_of_time
    )
