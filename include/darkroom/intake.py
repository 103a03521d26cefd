"""From a source to a committed plan: read, refuse, seed, cut.

`plan/params.json` is written first and decides every cut; a plan that was killed is finished by the next
try the same way, file by file, because each file is created only if absent.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic import ValidationError

from darkroom.batches import Batch, Index, chunk_id
from darkroom.errors import BadRequest, InvalidItem, NotPlanned, SourceChanged
from darkroom.flows import FLOWS
from darkroom.manifest import leftovers
from darkroom.planning import Params, chunk_sizes, decide_params, seed_for
from darkroom.progress import PlanNow, Progress
from darkroom.records import BatchRequest, Item, PlannedItem, Reject
from darkroom.settings import Settings
from darkroom.sources import Source, fingerprint, open_source, read
from darkroom.stages.options import parse_options


def plan_batch(batch: Batch, params: dict[str, Any], settings: Settings) -> Index:
    """Plan the first round of a batch; what is planned already is returned as it is.

    Raises:
        BadRequest: a param is wrong, or the batch id is taken by another request.
        SourceNotAllowed: the source lies outside the allowed roots.
        SourceChanged: an earlier try began to plan another state of the source.
    """
    request = _request(batch, params)
    if not batch.save_request(request) and batch.request() != request:
        raise BadRequest(f"batch_id {batch.batch_id!r} is taken by a different request; choose another")
    index = batch.index()
    if index is None:  # else the source may be gone by now, and nothing needs it
        index = _cut(batch, request, open_source(request.source, settings.input_roots), settings)
    Progress(settings.redis_url.get_secret_value()).plan(
        batch.batch_id, PlanNow(index.flow, index.items, index.rejects, len(index.chunk_ids))
    )
    return index


def plan_round(batch: Batch, number: int) -> Index:
    """Plan round `number` from what C rejected and what is undone; planned already, it is returned as it is.

    The round as a whole is fixed before it is cut, so a try that was killed in between is finished the same.
    """
    index = batch.index(number)
    if index is None:
        batch.save_plan_chunk(f"r{number}", leftovers(batch))
        items = batch.plan_chunk(f"r{number}")
        index = _save_chunks(batch, number, batch.params(), iter(items), len(items), rejects=0)
        if index is None:
            raise NotPlanned(f"the chunks of round {number} do not hold its items; it was tampered with")
        batch.save_index(index)
    return batch.planned(number)


def _request(batch: Batch, params: dict[str, Any]) -> BatchRequest:
    """The params of a run as a record; everything a later chunk would stumble over is refused here."""
    try:
        request = BatchRequest(**{**params, "batch_id": batch.batch_id})
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRequest(f"param {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    for stage, options in request.options.items():
        if stage not in FLOWS[request.flow].stages:
            raise BadRequest(f"options.{stage}: flow {request.flow} has no stage {stage!r}")
        try:
            parse_options(stage, options)
        except InvalidItem as error:
            raise BadRequest(f"options.{stage}: {error}") from error
    return request


def _cut(batch: Batch, request: BatchRequest, source: Source, settings: Settings) -> Index:
    """Read the source twice, to count and to cut; what it was is compared before, between and after."""
    flow = FLOWS[request.flow]
    seen = fingerprint(source)
    rejects: list[Reject] = []
    count = 0
    for line in read(source, flow):
        if isinstance(line, Reject):
            rejects.append(line)
        else:
            count += 1
    batch.save_params(
        decide_params(
            seen,
            request.flow,
            min_chunk_s=settings.min_chunk_s,
            max_chunk_s=settings.max_chunk_s,
            shard_chunks=settings.shard_chunks,
        )
    )
    params = batch.params()
    changed = SourceChanged(
        f"{request.source} changed since batch {batch.batch_id} was begun; start it under a new batch_id"
    )
    if params.fingerprint != seen:
        raise changed
    batch.save_rejects(rejects)
    items = (line for line in read(source, flow) if isinstance(line, Item))
    planned = (_planned(batch.batch_id, item) for item in items)
    index = _save_chunks(batch, 0, params, planned, count, len(rejects))
    if index is None or fingerprint(source) != seen:
        raise changed
    batch.save_index(index)
    return batch.planned()


def _save_chunks(
    batch: Batch, number: int, params: Params, items: Iterator[PlannedItem], count: int, rejects: int
) -> Index | None:
    """Write the chunks of a round; its index, or None where they are not what is planned now."""
    sizes = chunk_sizes(
        count, params.servers, params.k, min_items=params.min_items, cap_items=params.cap_items
    )
    chunk_ids = [chunk_id(n, number) for n in range(len(sizes))]
    for name, size in zip(chunk_ids, sizes, strict=True):
        chunk = list(islice(items, size))
        written = batch.save_plan_chunk(name, chunk)
        if len(chunk) != size or (not written and batch.plan_chunk(name) != chunk):
            return None
    return Index(
        round=number, flow=params.flow, chunk_ids=chunk_ids, sizes=sizes, items=count, rejects=rejects
    )


def _planned(batch_id: str, item: Item) -> PlannedItem:
    seed = item.seed if item.seed is not None else seed_for(batch_id, item.custom_id)
    return PlannedItem(**{**item.model_dump(), "seed": seed})
