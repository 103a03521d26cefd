"""What has gone on from a batch to other flows, each a batch of its own.

    batches/{batch_id}/then/{route}/0001-B_C-5feceb66.jsonl    the items that go on from manifest 1 to B_C
    batches/{batch_id}/then/{route}/0001.json                  written last: so it was decided, once for all

The source of what goes on is that list, its pictures are those that the first batch made.
"""

import hashlib
from typing import Any

from darkroom.errors import BadRequest
from darkroom.flows import FLOWS
from darkroom.records import SCHEMA_VERSION, Record
from darkroom.routes import Route
from darkroom.settings import config_file, settings
from darkroom.store.batches import Batch

_LONGEST_ID = 128


class Onward(Record):
    """What has gone on to one flow: a batch of its own."""

    route: str
    flow: str
    batch_id: str
    source: str
    """URI of the list of its items."""
    items: int

    def __str__(self) -> str:
        return f"{self.route}: {self.items} items went on to {self.flow} as batch {self.batch_id}"


class Decision(Record):
    """What one manifest has sent on by one route. Written last, it commits the lists."""

    generation: int
    sent: list[Onward]
    asked: int
    """Items that the function was asked of: the others had failed, or had gone on before."""
    schema_version: int = SCHEMA_VERSION


def route_of(name: str) -> Route:
    """The route of a name.

    Raises:
        BadRequest: there is none.
    """
    known = settings().then
    if name not in known:
        there = f"there are: {', '.join(known)}" if known else "there is none"
        raise BadRequest(f"then {name!r}: {config_file()} has no table [then.{name}]; {there}")
    return known[name]


def folder_of(batch: Batch, name: str = "") -> str:
    """Where what went on from a batch is listed, or what did by one route."""
    return f"{batch.root}/then/{name}".rstrip("/")


def decision_path(batch: Batch, name: str, generation: int) -> str:
    """Where it is kept what a manifest has sent on by a route."""
    return f"{folder_of(batch, name)}/{generation:04d}.json"


def decision_at(batch: Batch, path: str) -> Decision:
    """What is kept there."""
    return Decision.model_validate_json(batch.store.read(path))


def gone_on(batch: Batch, name: str = "") -> list[Onward]:
    """All that has gone on from a batch, or by one route, in the order of its manifests."""
    found = sorted(path for path in batch.store.list(folder_of(batch, name)) if path.endswith(".json"))
    return [onward for path in found for onward in decision_at(batch, path).sent]


def refuse_taken(batch: Batch, onward: Onward) -> None:
    """Return if the name of what goes on is free, or its own.

    Raises:
        BadRequest: there is another batch of that name.
    """
    other = Batch(batch.store, onward.batch_id)
    if other.exists() and other.request().source != onward.source:
        raise BadRequest(
            f"then {onward.route!r}: there is another batch {other.batch_id!r}, so {onward.items} items of "
            f"{batch.batch_id} can't go on to {onward.flow} under that name"
        )


def conf_of(batch: Batch, onward: Onward) -> dict[str, Any]:
    """What a run of `image_flow` is asked for to go on: as its batch was, for the stages that both have."""
    asked, own = batch.request(), route_of(onward.route).options
    options = {
        stage: asked.options.get(stage, {}) | own.get(stage, {}) for stage in FLOWS[onward.flow].stages
    }
    return asked.conf | {
        "batch_id": onward.batch_id, "flow": onward.flow, "source": onward.source,
        "options": {stage: some for stage, some in options.items() if some},
    }  # fmt: skip


def batch_id_of(batch_id: str, name: str, generation: int, flow: str) -> str:
    """`numbers-parity-B_C`; of the second manifest `numbers-parity.2-B_C`."""
    tail = f"-{name}{f'.{generation}' if generation > 1 else ''}-{flow}"
    if len(batch_id + tail) <= _LONGEST_ID:
        return batch_id + tail
    mark = hashlib.sha256(batch_id.encode()).hexdigest()[:8]
    return f"{batch_id[: _LONGEST_ID - len(tail) - len(mark) - 1]}-{mark}{tail}"
