"""The process that holds a stage's model: mosec hands it frames, it runs them as one batch."""

import logging
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any, cast

import psutil
from mosec import ValidationError, Worker

from darkroom.errors import BadRequest, InvalidItem, ItemError
from darkroom.flows import STAGES, Stage
from darkroom.loading import load_class
from darkroom.serving.messages import decode_request, encode_answer
from darkroom.stages.base import Output, Request, StageModel

STAGE_ENV, IMPLEMENTATION_ENV = "DARKROOM_STAGE", "DARKROOM_IMPLEMENTATION"
_PARENT_CHECK_S = 0.5

log = logging.getLogger(__name__)


class StageWorker(Worker):  # type: ignore[misc]
    """A stage behind mosec; which one, the server says by environment, as mosec takes a class only."""

    resp_mime_type = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__()
        _follow_parent()
        self._model = load_stage(STAGES[os.environ[STAGE_ENV]], os.environ[IMPLEMENTATION_ENV])
        started = time.monotonic()
        self._model.load()
        # Mosec asks a worker nothing before this returns: an answered request means warm.
        answer = self._model.run([self._model.sample()])[0]
        if isinstance(answer, ItemError):
            raise answer
        log.info("%s is warm after %.1f s", os.environ[IMPLEMENTATION_ENV], time.monotonic() - started)

    def deserialize(self, data: bytes) -> Request | InvalidItem:
        """The request, or what is wrong with it: raising here would fail the whole batch."""
        try:
            return decode_request(bytes(data)) or self._model.sample()
        except InvalidItem as error:
            return error
        except ValueError as error:
            return InvalidItem(f"frame: {error}")

    def forward(self, data: Any) -> Any:
        """Answers in the order of the batch; unreadable requests are answered without the model.

        Raises:
            ValidationError: none can be read. Mosec knows one status for a batch, so only then can it
                be a 422; beside readable ones the error travels in the frame.
        """
        batch = cast("list[Request | InvalidItem]", data if isinstance(data, list) else [data])
        requests = [entry for entry in batch if isinstance(entry, Request)]
        if not requests:
            raise ValidationError("; ".join(str(entry) for entry in batch))
        answers = iter(self._model.run(requests))
        result = [next(answers) if isinstance(entry, Request) else entry for entry in batch]
        return result if isinstance(data, list) else result[0]

    def serialize(self, data: Output | ItemError) -> bytes:
        """The frame of one answer."""
        return encode_answer(data)


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
        raise BadRequest(f"stages.{stage.name}.config: {error}") from error


def _follow_parent() -> None:
    """End this worker and mosec's front process when the main process is killed.

    Without this, `kill -9` of the main process leaves both behind: the front keeps the port, so that no
    new server can start, and the worker, which ignores SIGTERM, keeps the GPU's memory.
    """
    parent = psutil.Process(os.getppid())
    fronts = [child for child in parent.children() if child.name() == "mosec"]
    # The front's argument is its configuration, in a temporary folder that the main process would remove.
    folders = [Path(front.cmdline()[1]).parent for front in fronts]

    def watch() -> None:
        while os.getppid() == parent.pid:
            time.sleep(_PARENT_CHECK_S)
        for front in fronts:
            if front.is_running():
                front.kill()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="follow-parent").start()
