"""What one kind of housekeeping has removed, or would remove."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

DAY_S = 24 * 3600


@dataclass
class Tally:
    """Counts, while things are removed or only looked at."""

    things: str
    """What is counted: rows, files, batches."""
    dry_run: bool
    count: int = 0
    size_bytes: int = 0
    """What they take; 0 where nobody knows."""
    oldest_s: float | None = None
    """When the oldest was last written, in epoch seconds."""
    notes: list[str] = field(default_factory=list)
    """What a person should know: what was held back, and why."""

    def add(self, size_bytes: int, written_s: float | None, count: int = 1) -> None:
        """One more."""
        self.count += count
        self.size_bytes += size_bytes
        if written_s is not None:
            self.oldest_s = written_s if self.oldest_s is None else min(self.oldest_s, written_s)

    @property
    def oldest(self) -> str:
        """The day of the oldest, in UTC; empty where there is none."""
        return f"{datetime.fromtimestamp(self.oldest_s, UTC):%Y-%m-%d}" if self.oldest_s is not None else ""

    def lines(self) -> Iterator[str]:
        """For a log: what was done, then the notes."""
        size = f", {self.size_bytes / 1e6:,.1f} MB" if self.size_bytes else ""
        oldest = f", the oldest of {self.oldest}" if self.oldest else ""
        yield f"{'would remove' if self.dry_run else 'removed'} {self.count:,} {self.things}{size}{oldest}"
        yield from self.notes

    def as_json(self) -> dict[str, Any]:
        """As a task returns it, and the command prints it."""
        return asdict(self) | {"oldest": self.oldest}
