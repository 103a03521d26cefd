"""The process that holds a stage's model: mosec hands it frames, it runs them as one batch."""

import json
import logging
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import psutil
from mosec import ValidationError, Worker
from mosec.errors import MosecTimeoutError

from darkroom.errors import BadRequest, InvalidImage, InvalidItem, ItemError, StageFailed
from darkroom.flows import STAGES, Stage
from darkroom.loading import load_class
from darkroom.serving.door import DOOR_ENV, Door
from darkroom.serving.messages import WAKE, decode_request, encode_answer, encode_refusal
from darkroom.serving.status import LoadReport
from darkroom.settings import settings
from darkroom.stages.base import Output, Request, StageModel

STAGE_ENV, IMPLEMENTATION_ENV, PORT_ENV = "DARKROOM_STAGE", "DARKROOM_IMPLEMENTATION", "DARKROOM_PORT"
REPORT_ENV = "DARKROOM_REPORT"
"""Where to tell the supervisor what came of loading; without it an error ends the worker loudly."""
QUEUED_BATCHES = 4
"""Beyond so many batches a request is told to wait (429): two lanes keep three in flight, see `Turn`."""
TIMEOUT_FACTOR = 2
"""Over the stage's deadline, so that the client gives up first and can tell hung from slow."""
_PARENT_CHECK_S = 0.5

log = logging.getLogger(__name__)


class StageWorker(Worker):  # type: ignore[misc]
    """A stage behind mosec; which one, the server says by environment, as mosec takes a class only."""

    resp_mime_type = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__()
        _follow_main()
        self._implementation = os.environ[IMPLEMENTATION_ENV]
        report = os.environ.get(REPORT_ENV)
        try:
            # Mosec asks a worker nothing before this returns: an answered request means warm.
            stage = STAGES[os.environ[STAGE_ENV]]
            loaded = self._load(stage)
        # User code may raise anything; the supervisor says it once, however often it tries again.
        except Exception as error:
            if not report:
                raise
            text = traceback.format_exc()
            LoadReport(error=f"{type(error).__name__}: {error}", traceback=text).write(Path(report))
            sys.exit(1)
        if report:
            loaded.write(Path(report))
        self._trace = _open_trace(stage.name)
        self._door = _open_door(stage)

    def _load(self, stage: Stage) -> LoadReport:
        started = time.monotonic()
        self._model = load_stage(stage, self._implementation)
        self._model.load()
        answer = self._model.run([self._model.sample()])[0]
        if isinstance(answer, ItemError):
            raise answer
        seconds = round(time.monotonic() - started, 3)
        log.info("%s is warm after %.1f s", self._implementation, seconds)
        return LoadReport(seconds=seconds, device=str(getattr(self._model, "device", "cpu")))

    def deserialize(self, data: bytes | bytearray) -> Request | InvalidItem | Output:
        """The request, or what is wrong with it: raising here would fail the whole batch.

        A wake needs no work: its answer is given here.
        """
        if data == WAKE:
            return Output()
        try:
            return decode_request(data) or self._model.sample()
        except InvalidItem as error:
            return error
        except ValueError as error:
            return InvalidItem(f"frame: {error}")

    def forward(self, data: Any) -> Any:
        """Answers in the order of the batch, after those who are at the door.

        Raises:
            ValidationError: nothing in the batch can be done. Mosec knows one status for a batch, so only
                then can it be a 422; beside good requests the error travels in the frame.
        """
        if self._door:
            self._door.let_in(self._from_the_door, self.max_batch_size)
        batch = cast("list[Request | InvalidItem | Output]", data if isinstance(data, list) else [data])
        result = self._answers(batch)
        _refuse(batch, result)
        return result if isinstance(data, list) else result[0]

    def serialize(self, data: Output | ItemError) -> bytes:
        """The frame of one answer."""
        return encode_answer(data)

    def _from_the_door(self, frames: list[bytes]) -> list[bytes]:
        return [self.serialize(answer) for answer in self._answers([self.deserialize(f) for f in frames])]

    def _answers(self, batch: list[Request | InvalidItem | Output]) -> list[Output | ItemError]:
        """Each entry's answer; those that are no requests are answered already."""
        requests = [entry for entry in batch if isinstance(entry, Request)]
        answers = iter(self._run(requests) if requests else [])
        return [next(answers) if isinstance(entry, Request) else entry for entry in batch]

    def _run(self, requests: list[Request]) -> list[Output | ItemError]:
        """The stage's answers; where it raises on a batch, each item is tried alone."""
        begun = time.time()
        try:
            return _timed(self._checked, requests)
        except MosecTimeoutError:
            raise
        except Exception as error:
            log.warning("%s raised on %d items", self._implementation, len(requests), exc_info=error)
            if len(requests) == 1:
                return [StageFailed(f"{type(error).__name__}: {error}")]
        finally:
            if self._trace:
                self._trace.write(json.dumps([begun, time.time(), len(requests)]) + "\n")
        return [self._run([request])[0] for request in requests]

    def _checked(self, requests: list[Request]) -> list[Output | ItemError]:
        answers = self._model.run(requests)
        if len(answers) != len(requests):
            raise TypeError(f"run() gave {len(answers)} answers to {len(requests)} requests")
        if odd := [a for a in answers if not isinstance(a, Output | ItemError)]:
            raise TypeError(f"run() must answer with Output or ItemError, not {type(odd[0]).__name__}")
        return answers


def _timed(
    run: Callable[[list[Request]], list[Output | ItemError]], requests: list[Request]
) -> list[Output | ItemError]:
    """What `run` answers, each output with its share of the time."""
    begun = time.monotonic()
    answers = run(requests)
    share = round((time.monotonic() - begun) / len(requests), 6)
    return [replace(a, seconds=share) if isinstance(a, Output) else a for a in answers]


def load_stage(stage: Stage, implementation: str) -> StageModel:
    """An instance of the stage's class; its weights are not loaded yet.

    Args:
        stage: its row.
        implementation: `module:Class`; one that stands in for the row's own gets none of its `config`.

    Raises:
        BadRequest: there is no such class, or it does not take what `config` says.
    """
    found = load_class(implementation, f"stages.{stage.name}.implementation")
    config = stage.config if implementation == stage.implementation else {}
    try:
        return cast(StageModel, found(**config))
    except (TypeError, ValueError) as error:
        raise BadRequest(f"stages.{stage.name}.config ({', '.join(config)}): {error}") from error


def _refuse(batch: list[Request | InvalidItem | Output], result: list[Output | ItemError]) -> None:
    ids = [entry.custom_id if isinstance(entry, Request) else "" for entry in batch]
    bad = [answer for answer in result if isinstance(answer, InvalidItem | InvalidImage)]
    # Two batches may use the same name for an item; then only the frames tell whose error it is.
    if len(bad) == len(result) and len(set(ids)) == len(ids):
        raise ValidationError(encode_refusal(list(zip(ids, bad, strict=True))))


def _open_door(stage: Stage) -> Door | None:
    path, port = os.environ.get(DOOR_ENV), os.environ.get(PORT_ENV)
    if not path or not port:
        return None
    most, deadline_s = stage.batch_size * QUEUED_BATCHES, stage.deadline_s * TIMEOUT_FACTOR
    return Door(Path(path), int(port), most, deadline_s)


def _open_trace(stage: str) -> Any:
    """A file of `[begin, end, items]` lines, one a batch, in epoch seconds; None when none is asked for."""
    folder = settings().trace
    if not folder:
        return None
    path = Path(folder) / f"{stage}-{os.getpid()}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", buffering=1)


def _follow_main() -> None:
    """End this worker and mosec's front process when the main process is killed.

    Without this, `kill -9` of the main process leaves both behind: the front keeps the port, so that no
    new server can start, and the worker, which ignores SIGTERM, keeps the GPU's memory.
    """
    parent = psutil.Process(os.getppid())
    fronts = [child for child in parent.children() if child.name() == "mosec"]
    # The front's argument is its configuration, in a temporary folder that the main process would remove.
    folders = [Path(front.cmdline()[1]).parent for front in fronts]

    def clean_up() -> None:
        for front in fronts:
            if front.is_running():
                front.kill()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    end_with(parent.pid, clean_up)


def end_with(parent_pid: int, clean_up: Any = lambda: None) -> None:
    """End this process, after `clean_up`, when its parent has ended, however it did."""

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(_PARENT_CHECK_S)
        clean_up()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="follow-parent").start()
