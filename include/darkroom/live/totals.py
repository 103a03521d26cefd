"""Counters over the plant's life, for who measures it: they only grow, and are the same whoever asks.

Key `darkroom:totals`, a hash: field `{counter}/{stage}` or `{counter}/{stage}/{label}`. The labels are few:
an outcome, an error's code, the bucket of a histogram; never a batch or an item. Losing Redis begins them
anew, as a restart of a process does elsewhere.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from darkroom.live.connection import InRedis
from darkroom.records import Result

KEY: Final = "darkroom:totals"
BATCH_ITEMS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
"""Upper bounds of the histogram of batch sizes; the last bucket has none."""
CHUNK_S: Final = (1, 5, 15, 60, 300, 900, 3600)
"""Of chunks, in seconds."""
BEYOND: Final = "+Inf"


class Totals(InRedis):
    """The counters of a plant; an empty URL has none. A Redis that is down fails nobody."""

    def computed(self, stage: str, results: Sequence[Result]) -> None:
        """Count a batch of items that has come back from the model, by what each row tells of the stage."""
        tried = [told for row in results if (told := row.told_by(stage)).get("attempts")]
        if not tried:
            return
        busy = [(entry["attempts"], entry.get("busy_s", 0.0)) for entry in tried]
        self._add(
            stage,
            {
                "computed": len(tried),
                "model_s": sum(busy_s for _, busy_s in busy),
                # As in a batch's summary: a try in vain takes as long as the one that counts.
                "wasted_tries": sum(tries - 1 for tries, _ in busy),
                "wasted_s": sum((tries - 1) * busy_s for tries, busy_s in busy),
                f"batch_items/{bucket(len(tried), BATCH_ITEMS)}": 1,
            },
        )

    def ended(self, stage: str, part: Sequence[Result], seconds: float) -> None:
        """Count a chunk whose part was written, by this lane and no other: so each item counts once."""
        own = [row for row in part if row.told_by(stage)]
        counts: Counter[str] = Counter(f"items/{row.status}" for row in own)
        counts.update(f"errors/{row.error.code}" for row in own if row.error is not None)
        counts["found"] = sum(row.told_by(stage).get("attempts") == 0 for row in own)
        counts["chunks/ended"] = 1
        counts[f"chunk_s/{bucket(seconds, CHUNK_S)}"] = 1
        self._add(stage, {**counts, "chunks_s": seconds})

    def interrupted(self, stage: str, how: str) -> None:
        """Count a chunk that was put back, or that failed: `paused`, `stopped`, `failed`."""
        self._add(stage, {f"chunks/{how}": 1})

    def read(self) -> dict[tuple[str, str, str], float]:
        """All counters, by name, stage and label.

        Nothing where Redis does not answer.
        """
        told: dict[str, str] = self._ask(lambda server: server.hgetall(KEY), {}, "the totals")
        read = {}
        for name, value in told.items():
            counter, stage, label = [*name.split("/", 2), "", ""][:3]
            read[counter, stage, label] = float(value)
        return read

    def _add(self, stage: str, counts: Mapping[str, float]) -> None:
        def fill(pipe: Any) -> None:
            for name, number in counts.items():
                counter, _, label = name.partition("/")
                field = f"{counter}/{stage}/{label}" if label else f"{counter}/{stage}"
                if number:
                    pipe.hincrbyfloat(KEY, field, round(number, 6))

        self._write(fill, "the totals")


def bucket(value: float, bounds: Sequence[int]) -> str:
    """The upper bound of the bucket that a value falls into."""
    return next((str(bound) for bound in bounds if value <= bound), BEYOND)
