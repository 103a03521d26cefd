"""What became of a chunk, in numbers and in the last lines of its log."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from darkroom.live.progress import Counts
from darkroom.records import Result, Status


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a chunk."""

    items: int
    completed: int
    rejected: int
    failed: int
    undone: int
    """Left over when the time budget was spent, or when an earlier stage left them."""
    computed: int
    found: int
    """There already: computed by an earlier try, or for another batch."""
    tries: int
    """Requests to the model server that the computed ones took."""
    busy_s: float
    """The model's own time on them."""
    why: dict[str, int]
    """Of the rejected and the failed: reasons and codes, the most frequent first."""
    part_uri: str
    out_of_time: bool
    """Whether this try ended because its time budget was spent."""
    seconds: float

    @classmethod
    def of(
        cls, items: int, part: Sequence[Result], stage: str, part_uri: str, out_of_time: bool, seconds: float
    ) -> "Report":
        """Of a chunk of so many items, from its part after a stage."""
        told = [entry for row in part if (entry := row.told_by(stage))]
        tries = [entry.get("attempts", 0) for entry in told]
        counts = count(part)
        return cls(
            items=items, completed=counts.done, rejected=counts.rejected, failed=counts.failed,
            undone=items - len(part),
            computed=sum(number > 0 for number in tries), found=tries.count(0), tries=sum(tries),
            busy_s=sum(entry.get("busy_s", 0.0) for entry in told),
            why=dict(Counter(reason for row in part for reason in _why(row)).most_common()),
            part_uri=part_uri, out_of_time=out_of_time, seconds=seconds,
        )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.items} items: {self._came_to}, in {self.seconds:.1f} s"

    def lines(self) -> Iterator[str]:
        """For whoever reads the log: what it took, what came of it, where it lies."""
        yield (
            f"{self.computed} computed in {self.tries} requests, {self.busy_s:.1f} s of the model's time; "
            f"{self.found} were there already"
        )
        why = "; ".join(f"{reason}: {number}" for reason, number in self.why.items())
        yield f"{self._came_to}, in {self.seconds:.1f} s{f' ({why})' if why else ''}"
        yield f"results: {self.part_uri}"

    @property
    def figures(self) -> dict[str, float]:
        """For whoever reads the log by machine: `duration_s` of this try, `busy_s` of the model."""
        return {
            "items": self.items, "completed": self.completed, "rejected": self.rejected,
            "failed": self.failed, "undone": self.undone, "computed": self.computed, "found": self.found,
            "tries": self.tries, "busy_s": round(self.busy_s, 3), "duration_s": round(self.seconds, 3),
        }  # fmt: skip

    @property
    def _came_to(self) -> str:
        return (
            f"{self.completed} completed, {self.rejected} rejected, {self.failed} failed, "
            f"{self.undone} left over"
        )


def count(results: Sequence[Result]) -> Counts:
    """Outcomes by kind."""
    done = sum(result.status is Status.COMPLETED for result in results)
    rejected = sum(result.status is Status.REJECTED for result in results)
    return Counts(done, rejected, len(results) - done - rejected)


def _why(row: Result) -> list[str]:
    if row.error is not None:
        return [row.error.code]
    return row.verdict.reasons if row.verdict is not None and row.status is Status.REJECTED else []
