"""A batch made by hand: its plan and its parts, without a model or a server."""

import io
from collections.abc import Iterable, Sequence

from darkroom.flows import FLOWS
from darkroom.records import BatchRequest, ErrorInfo, PlannedItem, Reject, Result, Status, Verdict
from darkroom.results import outcomes
from darkroom.store.batches import Batch, Index, chunk_id, image_path, json_line
from darkroom.store.plan_table import write_plan
from darkroom.store.storage import Store, sha256


def save_plan_chunk(batch: Batch, name: str, items: Iterable[PlannedItem]) -> bool:
    """Fix the items of a chunk."""
    return batch.store.create(batch.plan_chunk_path(name), plan_bytes(items))


def plan_bytes(items: Iterable[PlannedItem]) -> bytes:
    """The file of a plan chunk."""
    file = io.BytesIO()
    write_plan(file, items)
    return file.getvalue()


def save_rejects(batch: Batch, rejects: Iterable[Reject]) -> bool:
    """Keep the lines of the source that are not items."""
    return batch.store.create(batch.rejects_path, b"".join(map(json_line, rejects)))


def rejects_of(batch: Batch) -> list[Reject]:
    """The lines of the source that are not items."""
    return [Reject.model_validate_json(line) for line in batch.store.read(batch.rejects_path).splitlines()]


def leftovers(batch: Batch, **which: bool) -> list[PlannedItem]:
    """All items of the next round."""
    return list(outcomes.leftovers(batch, **which))


def plan(
    store: Store,
    chunks: Sequence[Sequence[str]],
    flow: str = "A_C",
    respins: int = 1,
    rejects: int = 0,
    batch_id: str = "b1",
) -> Batch:
    """A batch with a committed first round; ids per chunk."""
    batch = Batch(store, batch_id)
    batch.save_request(BatchRequest(flow=flow, source="s.jsonl", batch_id=batch_id, respins=respins))
    save_rejects(batch, [Reject(line=n, field=None, reason="bad") for n in range(rejects)])
    given = {FLOWS[flow].takes: "a red circle" if FLOWS[flow].takes == "prompt" else "file:///a.png"}
    items = [[PlannedItem(custom_id=name, seed=1, **given) for name in names] for names in chunks]
    commit_round(batch, 0, items, rejects)
    return batch


def commit_round(
    batch: Batch, number: int, chunks: Sequence[Sequence[PlannedItem]], rejects: int = 0
) -> None:
    """Plan one round."""
    names = [chunk_id(n, f"r{number}" if number else "") for n in range(len(chunks))]
    for name, items in zip(names, chunks, strict=True):
        save_plan_chunk(batch, name, items)
    sizes = [len(items) for items in chunks]
    batch.save_index(
        Index(
            round=number,
            flow=batch.request().flow,
            chunk_ids=names,
            sizes=sizes,
            items=sum(sizes),
            rejects=rejects,
        )
    )


def row(batch: Batch, custom_id: str, what: str = "completed", **fields: object) -> Result:
    """A result with a picture in the store, as a chunk would write it.

    Args:
        batch: whose store takes the picture.
        custom_id: of the item.
        what: a status.
        fields: over the usual ones; `picture` gives the bytes of the picture.
    """
    status = Status(what)
    data = bytes(fields.pop("picture", custom_id.encode()))
    told = {"generate": {"host": "h1", "model": "m", "seconds": 2.0, "attempts": 1}}
    usual: dict[str, object] = {
        "attempts": 1,
        "seconds": 2.0,
        "host": "h1",
        "seed": 1,
        "details": {"stages": told},
    }
    if status in (Status.COMPLETED, Status.REJECTED):
        path = image_path("generate", sha256(data)[:40])
        batch.store.create(path, data)
        usual |= {"image_uri": batch.store.uri(path), "sha256": sha256(data), "bytes": len(data)}
        verdict = Verdict(
            accepted=status is Status.COMPLETED, reasons=[] if what == "completed" else ["blank"]
        )
        usual["verdict"] = verdict
    else:
        usual["error"] = ErrorInfo(code="stage_failed", message="boom")
    return Result(custom_id=custom_id, status=status, flow=batch.request().flow, **usual | fields)


def run(batch: Batch, rows: dict[str, Sequence[Result]], stage: str = "inspect") -> None:
    """Commit parts: rows per chunk."""
    for name, results in rows.items():
        assert batch.save_part(stage, name, results)
