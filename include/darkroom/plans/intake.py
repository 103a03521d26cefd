"""From a source to a committed plan: read, refuse, seed, cut.

The source is read once, into a spool on local disk. `plan/params.json` is written first and decides every
cut; a plan that was killed is finished by the next try the same way, file by file, because each file is
created only if absent.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from darkroom.errors import BadRequest, NotPlanned, SourceChanged
from darkroom.flows import FLOWS
from darkroom.inputs import roots_of
from darkroom.live.progress import PlanNow, Progress
from darkroom.plans.planning import Params, decide_params, shards
from darkroom.plans.spool import ItemSpool, RejectSpool
from darkroom.records import BatchRequest, Item, Reject, RunTerms
from darkroom.settings import Settings
from darkroom.sources import OnProgress, Reading, open_source, read
from darkroom.sources.lines import doubled
from darkroom.stages.options import check_options
from darkroom.store.batches import Batch, Index, chunk_id, round_id
from darkroom.store.plan_table import read_plan

log = logging.getLogger(__name__)
_LOG_EVERY_S = 15.0
_BEHIND_ALL = 2**31 - 1
"""As the number of a file."""
Cut = Callable[[list[int]], Iterator[bytes]]
"""Makes the files of chunks of these sizes, in their order."""


def plan_batch(
    batch: Batch,
    params: dict[str, Any],
    settings: Settings,
    *,
    on_progress: OnProgress | None = None,
    rates: Mapping[str, float] | None = None,
    servers: Mapping[str, int] | None = None,
) -> Index:
    """Plan the first round of a batch; what is planned already is returned as it is.

    Args:
        batch: to plan.
        params: of its run.
        settings: roots of sources, limits of chunks.
        on_progress: told how many bytes of the source have been read, and of how many; by default the log
            is, now and then.
        rates: measured seconds per item on one server, by stage, over those of the stage table.
        servers: live servers by stage, over those of the stage table.

    Raises:
        BadRequest: a param is wrong, or the batch id is taken by another request.
        SourceNotAllowed: the source lies outside the allowed roots.
        SourceChanged: it changed while it was read (nothing of it is kept: try again), or an earlier try
            began to plan another state of it.
    """
    request = keep_request(batch, params)
    index = batch.index()
    if index is None:  # else the source may be gone by now, and nothing needs it
        roots = roots_of(request.source, settings.input_roots, settings.store_url)
        source = open_source(request.source, roots)
        reading = read(source, FLOWS[request.flow], on_progress or _log_progress(request.source))
        index = plan_reading(batch, reading, decider(request.flow, settings, rates, servers))
    runs = shards(len(index.chunk_ids), batch.params().shard_chunks)
    now = PlanNow(index.flow, index.items, index.rejects, len(index.chunk_ids), len(runs))
    Progress(settings.redis_url.get_secret_value()).plan(batch.batch_id, now)
    return index


def keep_request(batch: Batch, params: dict[str, Any]) -> BatchRequest:
    """What a run asks for, kept with its batch.

    Raises:
        BadRequest: a param is wrong, or the batch id is taken by another request.
    """
    request = _request(batch, params)
    if not batch.save_request(request) and not _same(batch.request(), request):
        raise _taken(batch)
    return request


def _taken(batch: Batch) -> BadRequest:
    return BadRequest(f"batch_id {batch.batch_id!r} is taken by a different request; choose another")


def check_request(batch: Batch, params: dict[str, Any]) -> None:
    """Refuse what a run asks for, as far as that can be told before its source is read.

    Raises:
        BadRequest: as `keep_request`.
    """
    request = _request(batch, params)
    try:
        known = batch.request()
    except NotPlanned:
        return
    if not _same(known, request):
        raise _taken(batch)


def decider(
    flow: str, settings: Settings, rates: Mapping[str, float] | None, servers: Mapping[str, int] | None
) -> Callable[[str], Params]:
    """What a plan derives from, given the fingerprint of its source; the other arguments as `plan_batch`."""
    return lambda fingerprint: decide_params(
        fingerprint, flow, min_chunk_s=settings.min_chunk_s, max_chunk_s=settings.max_chunk_s,
        shard_chunks=settings.shard_chunks, seconds_per_item=rates, servers=servers,
    )  # fmt: skip


def run_terms(params: Mapping[str, Any]) -> RunTerms:
    """How and when a run goes about its batch.

    Raises:
        BadRequest: a param of these is wrong.
    """
    try:
        return RunTerms(**{name: params[name] for name in RunTerms.model_fields if name in params})
    except ValidationError as error:
        raise _bad_param(error) from error


def _bad_param(error: ValidationError) -> BadRequest:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return BadRequest(f"param {field}: {first['msg']}" if field else f"params: {first['msg']}")


def _request(batch: Batch, params: dict[str, Any]) -> BatchRequest:
    """The params of a run as a record; everything a later chunk would stumble over is refused here."""
    try:
        asked = {name: value for name, value in params.items() if name not in RunTerms.model_fields}
        request = BatchRequest(**{**asked, "batch_id": batch.batch_id})
    except ValidationError as error:
        raise _bad_param(error) from error
    check_options(request.flow, request.options)
    return request


def _same(known: BatchRequest, asked: BatchRequest) -> bool:
    """Whether both ask for the same, however urgently: a day of the schedule may be backfilled later."""
    return known.model_copy(update={"priority": asked.priority}) == asked


def plan_reading(
    batch: Batch, reading: Reading, decide: Callable[[str], Params], more: Sequence[Reject] = ()
) -> Index:
    """Read the source into a spool, fix the params, cut the spool, commit.

    The rejects `more` follow all others.
    """
    with tempfile.TemporaryDirectory(prefix="darkroom-plan-") as folder:
        items = ItemSpool(Path(folder, "items.arrow"), batch.batch_id)
        rejects = RejectSpool(Path(folder, "rejects.jsonl"))
        for file, line, found in reading:
            if isinstance(found, Item):
                items.add(file, line, found)
            else:
                rejects.add(file, line, found)
        for reject in more:
            rejects.add(_BEHIND_ALL, 0, reject)
        items.close()
        doubles = (
            (file, line, doubled(custom_id).reject(line, reading.name(file)))
            for file, line, custom_id in items.doubles()
        )
        rejected = rejects.merged(doubles, Path(folder, "merged.jsonl"))
        batch.save_params(decide(reading.fingerprint))
        params = batch.params()
        changed = SourceChanged(
            f"the source changed since batch {batch.batch_id} was begun; start it under a new batch_id"
        )
        if params.fingerprint != reading.fingerprint:
            raise changed
        batch.store.create_file(batch.rejects_path, rejected)  # the same at every try
        index = save_chunks(batch, 0, params, items.cut, items.items, rejects.rejects)
        if index is None:
            raise changed
    batch.save_index(index)
    return batch.planned()


def save_chunks(
    batch: Batch, number: int, params: Params, cut: Cut, count: int, rejects: int = 0, asked_by: str = "",
    prefix: str = "",
) -> Index | None:  # fmt: skip
    """Write the chunks of a round; its index, or None where they are not what is planned now.

    The chunks of the first round are named after `prefix`, if it is planned piece by piece.
    """
    sizes = params.sizes(count)
    prefix = round_id(number, asked_by) if number else prefix
    chunk_ids = [chunk_id(n, prefix) for n in range(len(sizes))]
    for name, chunk in zip(chunk_ids, cut(sizes), strict=True):
        path = batch.plan_chunk_path(name)
        if not batch.store.create(path, chunk):
            there = batch.store.read(path)
            # Other bytes may be the same items: written by another version, say.
            if there != chunk and read_plan(there) != read_plan(chunk):
                return None
    return Index(
        round=number, flow=params.flow, chunk_ids=chunk_ids, sizes=sizes, items=count, rejects=rejects,
        asked_by=asked_by,
    )  # fmt: skip


def _log_progress(source: str) -> OnProgress:
    """Say in the task's log how far reading is."""
    said_s = time.monotonic()

    def tell(read_bytes: int, total_bytes: int | None) -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= _LOG_EVERY_S:
            said_s = time.monotonic()
            of = f" of {total_bytes / 1e6:,.0f}" if total_bytes else ""
            log.info("read %s%s MB of %s", f"{read_bytes / 1e6:,.0f}", of, source)

    return tell
