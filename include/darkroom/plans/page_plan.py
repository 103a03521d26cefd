"""From the pages of an HTTP source to the plan of its batch.

Numbered pages are all there before anything is planned: they are read like a source of many files. Of others
each is planned by itself, as soon as it is there, so that its items are computed while the next is fetched;
the batch's plan then is theirs, one after the other. An item that an earlier page has is a double there, too.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from darkroom.errors import SourceChanged
from darkroom.flows import FLOWS
from darkroom.plans.intake import plan_reading, save_chunks
from darkroom.plans.pages import Page, Pages, page_name
from darkroom.plans.planning import Params
from darkroom.plans.spool import ItemSpool, RejectSpool
from darkroom.records import Item, Reject
from darkroom.sources import read
from darkroom.sources.lines import doubled, printable
from darkroom.store.ahead import ahead
from darkroom.store.batches import Batch, Index, json_line
from darkroom.store.storage import sha256

_READ_AHEAD = 32
Decide = Callable[[str], Params]


def plan_pages(pages: Pages, roots: list[str], decide: Decide) -> dict[int, str]:
    """Commit the plan of a batch whose pages are fetched; the pages that are missing, and why.

    Args:
        pages: of the batch.
        roots: what pictures must lie under.
        decide: what the cut derives from, given the fingerprint of what was read.

    Raises:
        PagesMissing: too many are missing; nothing is planned.
        SourceChanged: an earlier try began to plan something else.
    """
    batch, there, missing = pages.batch, pages.there(), pages.may_go_without()
    gaps = [
        Reject(
            source=page_name(page), line=0, field=None, reason=f"the page is missing: {printable(why, 900)}"
        )
        for page, why in missing.items()
    ]
    if pages.api.numbered:
        flow = FLOWS[batch.request().flow]
        plan_reading(batch, read(pages.as_source(there, roots), flow), decide, gaps)
    else:
        indexes = [plan_page(pages, page, roots, decide) for page in there]
        lines = [batch.store.read(_rejects_path(batch, page.page)) for page in there]
        batch.store.create(batch.rejects_path, b"".join([*lines, *map(json_line, gaps)]))
        batch.save_index(_joined(indexes, len(gaps)))
    return missing


def plan_page(pages: Pages, page: Page, roots: list[str], decide: Decide) -> Index:
    """Plan one page of a chain, and those before it: the same at every try."""
    batch = pages.batch
    path = _index_path(batch, page.page)
    planned = set(batch.store.list(f"{batch.root}/plan"))
    if path in planned:
        return Index.model_validate(batch.store.read_json(path))
    for before in range(1, page.page):
        if _index_path(batch, before) not in planned and (earlier := pages.page(before)):
            plan_page(pages, earlier, roots, decide)
    batch.save_params(decide(f"pages:{sha256(pages.source.encode())}"))
    params, known = batch.params(), set(_ids(batch, page.page))
    with tempfile.TemporaryDirectory(prefix="darkroom-page-") as folder:
        items = ItemSpool(Path(folder, "items.arrow"), batch.batch_id)
        rejects = RejectSpool(Path(folder, "rejects.jsonl"))
        name = page_name(page.page)
        for file, line, found in read(pages.as_source([page], roots), FLOWS[params.flow]):
            if not isinstance(found, Item):
                rejects.add(file, line, found)
            elif found.custom_id in known:
                rejects.add(file, line, doubled(found.custom_id).reject(line, name))
            else:
                items.add(file, line, found)
        items.close()
        doubles = ((file, line, doubled(item).reject(line, name)) for file, line, item in items.doubles())
        rejected = rejects.merged(doubles, Path(folder, "merged.jsonl"))
        batch.store.create_file(_rejects_path(batch, page.page), rejected)
        index = save_chunks(
            batch, 0, params, items.cut, items.items, rejects.rejects, prefix=f"p{page.page:05d}"
        )
    if index is None:
        raise SourceChanged(f"the plan of {name} does not hold its items; it was tampered with")
    batch.store.create_json(path, index.model_dump(mode="json"))
    return index


def planned_so_far(batch: Batch, page: int) -> Index:
    """The plan of a chain of pages up to one."""
    return _joined(list(_indexes(batch, page + 1)), 0)


def _joined(indexes: list[Index], gaps: int) -> Index:
    return Index(
        flow=indexes[0].flow,
        chunk_ids=[chunk_id for index in indexes for chunk_id in index.chunk_ids],
        sizes=[size for index in indexes for size in index.sizes],
        items=sum(index.items for index in indexes),
        rejects=sum(index.rejects for index in indexes) + gaps,
    )


def _ids(batch: Batch, before: int) -> Iterator[str]:
    """The ids of all items of the pages before one."""
    chunks = (chunk_id for index in _indexes(batch, before) for chunk_id in index.chunk_ids)
    for table in ahead(lambda chunk: batch.plan_table(chunk, ["custom_id"]), chunks, _READ_AHEAD):
        yield from table["custom_id"].to_pylist()


def _indexes(batch: Batch, before: int) -> Iterator[Index]:
    paths = (_index_path(batch, page) for page in range(1, before))
    yield from map(Index.model_validate, ahead(batch.store.read_json, paths, _READ_AHEAD))


def _index_path(batch: Batch, page: int) -> str:
    return f"{batch.root}/plan/index-p{page:05d}.json"


def _rejects_path(batch: Batch, page: int) -> str:
    return f"{batch.root}/pages/{page:05d}-rejects.jsonl"
