"""What is told of a batch: the body of a callback. Pure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import quote

if TYPE_CHECKING:
    from darkroom.results.summary import Summary

Kind = Literal["batch.completed", "batch.failed", "batch.cancelled", "batch.late"]
KINDS = get_args(Kind)
_STATES: Mapping[str, str] = {
    "batch.completed": "succeeded",
    "batch.failed": "failed",
    "batch.cancelled": "cancelled",
    "batch.late": "running",
}
_COUNTS = ("items", "completed", "rejected", "failed", "timed_out", "rejects")


def event_of(
    kind: Kind, at: str, batch_id: str, run_id: str, summary: "Summary | None", plant_url: str
) -> dict[str, Any]:
    """An event as the receiver reads it.

    Args:
        kind: what has happened.
        at: when, in ISO 8601.
        batch_id: to which batch.
        run_id: in which run of it.
        summary: of its newest manifest, if it has one.
        plant_url: where people reach the UI.
    """
    pages = f"{plant_url}/darkroom/batches/{batch_id}"
    links = {"run": f"{plant_url}/dags/image_flow/runs/{quote(run_id, safe='')}"}
    if summary:
        links |= {"contact_sheet": pages, "manifest": f"{pages}/files/manifest.parquet"}
    return {
        "type": kind,
        "timestamp": at,
        "data": {
            "batch_id": batch_id,
            "state": _STATES[kind],
            "counts": {name: getattr(summary, name) for name in _COUNTS} if summary else None,
            "manifest": summary.uris["manifest.parquet"] if summary else None,
            "generation": summary.generation if summary else None,
            "links": links,
        },
    }
