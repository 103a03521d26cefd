"""`darkroom result`: what a batch came to, as one file."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from darkroom.commands.batches import WorkFailed
from darkroom.commands.plants import plant
from darkroom.commands.switches import Json
from darkroom.errors import BadRequest

FORMATS = ("jsonl", "parquet")


def result(
    batch: Annotated[str, typer.Argument(help="Name of the batch.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="A file, or a folder/: BATCH.FORMAT in it.")
    ] = None,
    kind: Annotated[str, typer.Option("--format", help="jsonl or parquet.")] = "jsonl",
    as_json: Json = False,
) -> None:
    """Fetch the manifest of a batch: one row per item, with its status, picture, seed, verdict, error.

    The newest there is, while the batch goes on, too; it does not wait. Without -o, JSON lines go to standard
    output; with --json the manifest's numbers go there instead: batch_id, state, file (null without -o) and
    summary. A file is there whole or not at all.

    Exit code 0: it is there; 1: the batch has no manifest yet; 2: there is no such batch.

    For example:

      darkroom result holiday | jq -r 'select(.status == "failed") | .custom_id'

      darkroom result holiday -o results/ --format parquet --json | jq .summary.completed
    """
    if kind not in FORMATS:
        raise BadRequest(f"--format {kind!r}: choose one of {', '.join(FORMATS)}")
    if output is None and kind != "jsonl" and not as_json:
        raise BadRequest(f"--format {kind}: say with -o where the file shall lie")
    there = plant()
    seen = there.sight(batch)
    if seen.summary is None:
        raise WorkFailed(
            f"batch {batch} has no manifest yet, it is {seen.outlook.state}; darkroom watch {batch}"
        )
    path = _place(output, f"{batch}.{kind}") if output else None
    if path or not as_json:
        rows = there.file(seen.summary, f"manifest.{kind}")
        if path:
            _save(path, rows)
        else:
            _print(rows)
    if as_json:
        summary = seen.summary.model_dump(mode="json")
        told = {
            "batch_id": batch,
            "state": seen.outlook.state,
            "file": path and str(path),
            "summary": summary,
        }
        print(json.dumps(told))
    elif path:
        print(f"{path}: {seen.summary}")


def _place(output: str, name: str) -> Path:
    return Path(output, name) if output.endswith("/") or Path(output).is_dir() else Path(output)


def _save(path: Path, pieces: Iterable[bytes]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("xb") as file:
            file.writelines(pieces)
        draft.replace(path)
    except OSError as error:
        raise BadRequest(f"-o {path}: {error.strerror}") from error
    finally:
        if path.parent.is_dir():
            draft.unlink(missing_ok=True)


def _print(pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.flush()
