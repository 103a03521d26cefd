"""`darkroom plan`: what a batch would be, without starting it."""

import json
import resource
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from darkroom.commands.admission import check_backlog
from darkroom.commands.connection import redis_url
from darkroom.commands.options_json import json_object
from darkroom.commands.switches import Json
from darkroom.errors import BadRequest
from darkroom.flows import FLOWS, STAGES
from darkroom.live.backlog import Speeds, speeds
from darkroom.plans.intake import plan_batch
from darkroom.plans.planning import Params, shards
from darkroom.records import Reject
from darkroom.settings import settings
from darkroom.sources import from_here
from darkroom.store.batches import Batch, Index
from darkroom.store.storage import open_store

REJECTS_SHOWN = 5
_MB = 1024
"""KiB in one, as the kernel counts memory."""
_COLUMNS = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
console = Console(stderr=True)


def plan(
    source: Annotated[
        str,
        typer.Argument(help="A JSONL, CSV or Parquet file, a glob of them, an object, a folder of pictures."),
    ],
    flow: Annotated[str, typer.Option(help=f"One of {', '.join(FLOWS)}.")],
    options: Annotated[str, typer.Option(help='Per stage, as JSON: \'{"generate": {"steps": 8}}\'.')] = "{}",
    force: Annotated[bool, typer.Option("--force", help="Plan although too much work waits.")] = False,
    as_json: Json = False,
) -> None:
    """Read and check a source and cut it into chunks, as a batch would be, but start nothing.

    All of it is done and written, into a folder that is thrown away, and cut by the servers that are ready
    and the rates that were measured, as a batch would be now. Needs no running plant: without one, the stage
    table says how fast it is. One that has more hours of work waiting than DARKROOM_MAX_BACKLOG_HOURS
    refuses, exit code 2. The source must lie under an allowed root, as for `darkroom submit`.

    For example:

      darkroom plan examples/prompts.jsonl --flow A_C

      darkroom plan 'inputs/day-*.jsonl.gz' --flow A --json

      darkroom plan s3://bucket/prompts/ --flow A       with s3://bucket among DARKROOM_SOURCE_ROOTS

    What can be a source, and what becomes of a broken one: docs/how-to/sources.md.
    """
    if flow not in FLOWS:
        raise BadRequest(f"--flow {flow!r}: choose one of {', '.join(FLOWS)}")
    params = {"flow": flow, "source": from_here(source), "options": json_object(options)}
    check_backlog(force)
    now = speeds(redis_url())
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="darkroom-plan-") as folder:
        batch = Batch(open_store(Path(folder).as_uri()), "plan")
        index = _planned(batch, params, now)
        seconds = time.monotonic() - begun_s
        cut = batch.params()
        rejects = list(islice(_rejects(Path(folder), batch), REJECTS_SHOWN))
    figures = {
        "items": index.items,
        "rejects": index.rejects,
        "chunks": len(index.chunk_ids),
        "shards": len(shards(len(index.chunk_ids), cut.shard_chunks)),
        "seconds": round(seconds, 2),
        "peak_memory_mb": _peak_memory_mb(),
    }
    if as_json:
        print(json.dumps(figures))
    else:
        _tell(figures, index, cut, rejects, now)


def _peak_memory_mb() -> int:
    """The most that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` begins with what the process had that started this one
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) // _MB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // (_MB * _MB if sys.platform == "darwin" else _MB)


def _planned(batch: Batch, params: dict[str, Any], now: Speeds) -> Index:
    # No word of it in the live progress: there is no such batch.
    alone = settings().model_copy(update={"redis_url": SecretStr("")})
    with Bar(*_COLUMNS, console=console, transient=True, disable=not console.is_terminal) as bar:
        row = bar.add_task("reading", total=None)
        return plan_batch(
            batch,
            params,
            alone,
            **now,
            on_progress=lambda done, total: bar.update(row, completed=done, total=total),
        )


def _rejects(folder: Path, batch: Batch) -> Any:
    with (folder / batch.rejects_path).open("rb") as lines:
        for line in lines:
            yield Reject.model_validate_json(line)


def _tell(figures: dict[str, Any], index: Index, params: Params, rejects: list[Reject], now: Speeds) -> None:
    out = Console(soft_wrap=True, highlight=False)
    out.print(f"items    {index.items:>12,}")
    out.print(f"rejects  {index.rejects:>12,}")
    sizes = f"of {max(index.sizes):,} to {min(index.sizes):,} items" if index.sizes else ""
    out.print(f"chunks   {figures['chunks']:>12,}  {sizes}")
    out.print(f"shards   {figures['shards']:>12,}  of at most {params.shard_chunks:,} chunks")
    if index.items:
        by = "the servers that are ready now" if now["servers"] else "the servers of the stage table"
        out.print(f"duration {_duration(index, now):>12}  by {by}")
    out.print(f"planned in {figures['seconds']} s with at most {figures['peak_memory_mb']} MB of memory")
    if rejects:
        out.print("\nThe first rejects:" if index.rejects > len(rejects) else "\nThe rejects:")
    for reject in rejects:
        where = f"{reject.source}, line {reject.line:,}" if reject.source else f"line {reject.line:,}"
        what = f"{reject.field}: {reject.reason}" if reject.field else reject.reason
        out.print(escape(f"  {where}: {what}"))


def _duration(index: Index, now: Speeds) -> str:
    """How long the flow's narrowest stage takes for all items."""
    names = FLOWS[index.flow].stages
    servers = {name: max(1, now["servers"].get(name, STAGES[name].servers)) for name in names}
    seconds = index.items * max(now["rates"][name] / servers[name] for name in names)
    units = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
    name, unit = next((pair for pair in units if seconds >= 2 * pair[1]), units[-1])
    return f"{seconds / unit:.0f} {name}s"
