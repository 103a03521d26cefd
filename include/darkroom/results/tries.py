"""What one round made of the items of one chunk: its parts joined with its plan.

Nearly always the last stage's part has a final row for each planned item, in plan order; then it is taken
as it is, as columns. Only a chunk where something is missing is looked through row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from darkroom.flows import FLOWS
from darkroom.records import SCHEMA_VERSION, PlannedItem, Status
from darkroom.store.batches import Batch
from darkroom.store.plan_table import planned_item
from darkroom.store.result_table import Row, table_of

UNDONE = "undone"
"""The error code of an item that no stage has finished with, nor set aside."""
RANKS: dict[str, int] = {Status.COMPLETED: 3, Status.REJECTED: 2, Status.FAILED: 1, Status.TIMED_OUT: 1}
"""Of the final states: the higher wins over tries of the same item."""
_PLANNED = ("custom_id", "seed", "metadata")


@dataclass(frozen=True, eq=False)
class ChunkTries:
    """The items of one chunk, each tried once; positions are those of the plan."""

    batch: Batch
    chunk_id: str
    ids: list[str]
    statuses: list[str]
    undone: frozenset[int]
    """Positions that no stage has finished with; their status is `failed`."""
    table: Any
    """Arrow: one row per item, or some columns of it."""

    def rank(self, position: int) -> int:
        """The higher wins over tries of the same item."""
        return 0 if position in self.undone else RANKS[self.statuses[position]]

    def row(self, position: int) -> Row:
        """A row of the table."""
        row: Row = self.table.slice(position, 1).to_pylist()[0]
        return row

    def item(self, position: int) -> PlannedItem:
        """An item as this round planned it."""
        return planned_item(self._plan[position])

    @cached_property
    def _plan(self) -> list[Row]:
        rows: list[Row] = self.batch.plan_table(self.chunk_id).to_pylist()
        return rows


def chunk_tries(
    batch: Batch, flow: str, chunk_id: str, files: frozenset[str], columns: Sequence[str] | None = None
) -> ChunkTries:
    """What became of a chunk, judged by those of its parts that are among `files`.

    Args:
        batch: whose chunk it is.
        flow: of the batch.
        chunk_id: of a committed round.
        files: paths; a part that is not among them is not there.
        columns: of the table where only some are needed, `custom_id` and `status` among them.

    Raises:
        NotPlanned: there is no such chunk.
    """
    stages = FLOWS[flow].stages
    ids: list[str] = batch.plan_table(chunk_id, ["custom_id"])["custom_id"].to_pylist()
    if batch.part_path(stages[-1], chunk_id) in files:
        table = batch.part_table(stages[-1], chunk_id, columns)
        if table is not None and table["custom_id"].to_pylist() == ids:
            statuses: list[str] = table["status"].to_pylist()
            if RANKS.keys() >= set(statuses):
                return ChunkTries(batch, chunk_id, ids, statuses, frozenset(), table)
    return _joined(batch, flow, chunk_id, ids, files)


def _joined(batch: Batch, flow: str, chunk_id: str, ids: list[str], files: frozenset[str]) -> ChunkTries:
    parts: list[dict[str, Row]] = []
    for stage in FLOWS[flow].stages:
        here = batch.part_path(stage, chunk_id) in files
        table = batch.part_table(stage, chunk_id) if here else None
        parts.append({} if table is None else {row["custom_id"]: row for row in table.to_pylist()})
    rows: list[Row] = []
    undone: set[int] = set()
    for position, planned in enumerate(batch.plan_table(chunk_id, _PLANNED).to_pylist()):
        row, is_undone = _row(planned, flow, chunk_id, parts)
        rows.append(row)
        if is_undone:
            undone.add(position)
    statuses = [row["status"] for row in rows]
    return ChunkTries(batch, chunk_id, ids, statuses, frozenset(undone), table_of(rows))


def _row(planned: Row, flow: str, chunk_id: str, parts: Sequence[dict[str, Row]]) -> tuple[Row, bool]:
    """The last stage's row; else that of an earlier stage that set the item aside; else it is undone."""
    stages = FLOWS[flow].stages
    unfinished = stages[0]
    row = {
        **planned, "status": "", "flow": flow, "attempts": 0, "seconds": 0.0, "details": "{}",
        "schema_version": SCHEMA_VERSION,
    }  # fmt: skip
    for position in reversed(range(len(stages))):
        reached = parts[position].get(planned["custom_id"])
        if reached is None:
            continue
        row = reached
        is_last = position == len(stages) - 1
        if row["status"] in RANKS and (is_last or row["status"] != Status.COMPLETED):
            return row, False
        unfinished = stages[position if is_last else position + 1]
        break
    message = f"stage {unfinished} did not finish it (chunk {chunk_id}); see that task's log"
    return {**row, "status": Status.FAILED.value, "error": {"code": UNDONE, "message": message}}, True
