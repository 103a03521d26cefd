"""Take one item through one stage: output found by its key, or computed, and a row of what became of it."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.annotation import annotated
from darkroom.chunks.artifacts import Artifact, ArtifactKey
from darkroom.chunks.attempts import Attempts, Expired, refuse_expired
from darkroom.errors import ItemError, PictureGone
from darkroom.flows import Stage
from darkroom.inputs import read_input
from darkroom.records import BatchRequest, ErrorInfo, PlannedItem, Result, Status
from darkroom.stages.base import Request
from darkroom.store.storage import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ItemRun:
    """How the items of a batch pass a stage on a host, each in whichever thread."""

    store: Store
    request: BatchRequest
    stage: Stage
    host: str
    input_roots: Sequence[str]
    attempts: Attempts

    def run(self, item: PlannedItem, prior: Result | None, alone: bool = False) -> Result | None:
        """The item's outcome; None: its server died while neighbours were in flight too."""
        row = prior or Result(
            custom_id=item.custom_id, status=Status.RUNNING, flow=self.request.flow,
            seed=item.seed, metadata=item.metadata,
        )  # fmt: skip
        tries, busy_s = 0, 0.0
        begun = time.monotonic()
        try:
            refuse_expired(item.expires_at)
            request = self._request(item, prior)
            key = ArtifactKey.of(self.stage, request)
            artifact = Artifact.find(self.store, key)
            if artifact is None:
                outcome = self.attempts.run(request, alone, item.expires_at)
                if outcome is None:
                    return None
                tries, output = outcome
                busy_s = output.seconds
                artifact = Artifact.create(self.store, key, output)
        except ItemError as error:
            tries = getattr(error, "tries", tries)
            info = ErrorInfo(code=error.code, message=str(error))
            with annotated(item=item.custom_id, code=error.code, tries=tries):
                log.warning("%s: %s after %d tries: %s", item.custom_id, error.code, tries, error)
            if not isinstance(error, Expired):
                return self._told(row, tries, begun, {"status": Status.FAILED, "error": info})
            expired: dict[str, object] = {"status": Status.TIMED_OUT, "error": info}
            return self._told(row, tries, begun, expired) if tries else row.model_copy(update=expired)
        return self._told(row, tries, begun, artifact.fields(), busy_s)

    def _told(
        self, row: Result, tries: int, begun: float, fields: dict[str, object], busy_s: float = 0.0
    ) -> Result:
        """`row` with what this stage adds: outcome, tries, seconds, and who did it."""
        seconds = round(time.monotonic() - begun, 4)
        mine = {
            "host": self.host, "model": self.stage.model, "seconds": seconds, "attempts": tries,
            "busy_s": round(busy_s, 4),
        }  # fmt: skip
        stages = {**row.details.get("stages", {}), self.stage.name: mine}
        details = {**row.details, **fields.pop("details", {}), "stages": stages}  # type: ignore[dict-item]
        made = {"host": self.host, "model": self.stage.model} if self.stage.gives == "image" else {}
        return row.model_copy(
            update={
                "attempts": row.attempts + tries, "seconds": round(row.seconds + seconds, 4),
                "details": details, **made, **fields,
            }
        )  # fmt: skip

    def _request(self, item: PlannedItem, prior: Result | None) -> Request:
        """The item as the model sees it: its picture read, its options over the run's."""
        image = b""
        if prior is not None and prior.image_uri:
            try:
                image = self.store.read(self.store.path(prior.image_uri))
            except FileNotFoundError:
                raise PictureGone(f"{prior.image_uri} is gone; the next round makes it again") from None
        elif item.image is not None:
            # Whether the item may name a picture of the store, its plan has looked.
            image = read_input(item.image, [*self.input_roots, self.store.uri("images")])
        own = item.options.get(self.stage.name, {})
        return Request(
            custom_id=item.custom_id, prompt=item.prompt, image=image, seed=item.seed,
            width=item.width, height=item.height,
            options={**self.request.options.get(self.stage.name, {}), **own},
        )  # fmt: skip
