"""Where each item of a manifest goes on to: a function of the user's is asked, and what it says is kept.

An item goes on once: a later manifest sends on what no earlier one has.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from darkroom.errors import BadRequest, InvalidItem
from darkroom.flows import FLOWS, STAGES
from darkroom.loading import load
from darkroom.records import Item, PlannedItem, Result, Status
from darkroom.results.generations import rows
from darkroom.results.onward import (
    Decision,
    Onward,
    batch_id_of,
    decision_at,
    decision_path,
    folder_of,
    route_of,
)
from darkroom.results.summary import Summary
from darkroom.settings import config_file
from darkroom.stages.options import parse_options
from darkroom.store.batches import Batch

Ask = Callable[[Result, Summary], str | None]
"""The next flow of an item; None: it is done."""
_ASKED_ABOUT = (Status.COMPLETED, Status.REJECTED)
"""What failed has come to nothing yet that could decide, and may be retried."""


def ask_of(name: str) -> Ask:
    """The function of a route.

    Raises:
        BadRequest: there is no such route or function, or its options are wrong.
    """
    route, field = route_of(name), f"{config_file()}: then.{name}"
    for stage, options in route.options.items():
        if stage not in STAGES:
            raise BadRequest(f"{field}.options: no stage {stage!r}; there are: {', '.join(STAGES)}")
        try:
            parse_options(stage, options)
        except InvalidItem as error:
            raise BadRequest(f"{field}.options.{stage}: {error}") from error
    function = load(route.function, f"{field}.function", "function")
    if not callable(function):
        raise BadRequest(f"{field}.function: {route.function} is no function")

    def ask(row: Result, summary: Summary) -> str | None:
        what = f"then {name!r}: {route.function}, asked of item {row.custom_id!r},"
        try:
            flow = function(row, summary)
        except Exception as error:
            raise BadRequest(f"{what} raised {type(error).__name__}: {error}") from error
        if flow is not None and flow not in FLOWS:
            raise BadRequest(f"{what} returned {flow!r}: no flow; there are None and {', '.join(FLOWS)}")
        return None if flow is None else str(flow)

    return ask


def send_on(batch: Batch, summary: Summary, name: str) -> None:
    """Ask of each item of a manifest where it goes on to; once that is decided, it stays so.

    Raises:
        BadRequest: the function is wrong, fails, or says what can't be; nothing goes on.
    """
    path = decision_path(batch, name, summary.generation)
    if not batch.store.exists(path):
        decision = _decide(batch, summary, name, ask_of(name))
        batch.store.create_json(path, decision.model_dump(mode="json"))


def _decide(batch: Batch, summary: Summary, name: str, ask: Ask) -> Decision:
    """One pass over the manifest and its plan, a chunk at a time."""
    asked, before = 0, _GoneBefore(batch, name, summary.generation)
    with tempfile.TemporaryDirectory(prefix="darkroom-then-") as folder, ExitStack() as stack:
        lists: dict[str, _List] = {}
        for row, item in zip(rows(batch, summary), _planned(batch), strict=True):
            if before.has(row.custom_id) or row.status not in _ASKED_ABOUT:
                continue
            asked += 1
            flow = ask(row, summary)
            if flow is None:
                continue
            if flow not in lists:
                lists[flow] = stack.enter_context(_List(Path(folder, f"{flow}.jsonl")))
            lists[flow].add(_next(item, row, flow, name))
        sent = [
            Onward(
                route=name, flow=flow, batch_id=batch_id_of(batch.batch_id, name, summary.generation, flow),
                source=found.kept(batch, f"{folder_of(batch, name)}/{summary.generation:04d}-{flow}"),
                items=found.items,
            )
            for flow, found in sorted(lists.items())
        ]  # fmt: skip
    return Decision(generation=summary.generation, sent=sent, asked=asked)


def _next(item: PlannedItem, row: Result, flow: str, name: str) -> Item:
    """The item as it goes on: with the picture that was made of it, or with its prompt and that seed.

    Raises:
        BadRequest: the flow takes what the item does not have.
    """
    takes = FLOWS[flow].takes
    given = item.prompt if takes == "prompt" else row.image_uri or item.image
    if given is None:
        raise BadRequest(
            f"then {name!r}: item {item.custom_id!r} can't go on to {flow}: that takes a {takes}, it has none"
        )
    sides = {"width": item.width, "height": item.height} if takes == "prompt" else {}
    own = {stage: options for stage, options in item.options.items() if stage in FLOWS[flow].stages}
    return Item(
        custom_id=item.custom_id, seed=row.seed, options=own, expires_at=item.expires_at,
        metadata=item.metadata, **{takes: given}, **sides,
    )  # fmt: skip


class _List:
    """A list of items, written to local disk first: there may be a million."""

    def __init__(self, path: Path) -> None:
        self.items = 0
        self._path, self._digest = path, hashlib.sha256()

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, item: Item) -> None:
        """The next one."""
        line = item.model_dump_json(exclude_defaults=True).encode() + b"\n"
        self._digest.update(line)
        self._file.write(line)
        self.items += 1

    def kept(self, batch: Batch, stem: str) -> str:
        """Its URI in the store, named after what is in it: no try takes another's for its own."""
        self._file.flush()
        path = f"{stem}-{self._digest.hexdigest()[:8]}.jsonl"
        batch.store.create_file(path, self._path)
        return batch.store.uri(path)


class _GoneBefore:
    """Whether an item has gone on from an earlier manifest; asked in plan order, as the lists are written."""

    def __init__(self, batch: Batch, name: str, generation: int) -> None:
        paths = [decision_path(batch, name, number) for number in range(1, generation)]
        there = [decision_at(batch, path) for path in paths if batch.store.exists(path)]
        self._lists = [_ids(batch, onward) for decision in there for onward in decision.sent]
        self._heads = [next(ids, None) for ids in self._lists]

    def has(self, custom_id: str) -> bool:
        """Look, and go on to the next."""
        for number, head in enumerate(self._heads):
            if head == custom_id:
                self._heads[number] = next(self._lists[number], None)
                return True
        return False


def _ids(batch: Batch, onward: Onward) -> Iterator[str]:
    with batch.store.open(batch.store.path(onward.source)) as lines:
        for line in lines:
            yield json.loads(line)["custom_id"]


def _planned(batch: Batch) -> Iterator[PlannedItem]:
    """The items of the first round: those of the rows of every manifest, in the same order."""
    for chunk_id in batch.planned().chunk_ids:
        yield from batch.plan_chunk(chunk_id)
