"""What a stage computed for one item: kept once, under a key of all that shapes it, for all batches."""

import hashlib
import json
import struct
import time
from dataclasses import dataclass
from typing import Any, Self

from darkroom.errors import StageFailed
from darkroom.flows import Stage
from darkroom.records import Status, Verdict
from darkroom.settings import settings
from darkroom.stages.base import Output, Request
from darkroom.store.batches import image_path
from darkroom.store.storage import Store, sha256

FRESH_S = 7 * 24 * 3600
"""What is used again and older is written anew, so that housekeeping sees that somebody uses it; half of
`LEAST_IMAGES_DAYS`, so that a chunk has a week to commit its part."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class ArtifactKey:
    """Where an output lies: a hash of the stage, its model and every input that shapes the output."""

    stage: Stage
    digest: str

    @classmethod
    def of(cls, stage: Stage, request: Request) -> Self:
        """The key of what `stage` makes of `request`."""
        seed = request.seed if stage.takes == "prompt" else None  # what takes a picture rolls no dice
        # What stands in for a stage must not pass for it.
        model = [stage.model, *filter(None, [settings().implementations.get(stage.name)])]
        shaping = [
            stage.name, model, request.prompt, sha256(request.image), seed,
            request.width, request.height, request.options,
        ]  # fmt: skip
        text = json.dumps(shaping, sort_keys=True, ensure_ascii=False)
        return cls(stage, hashlib.sha256(text.encode()).hexdigest()[:40])

    @property
    def path(self) -> str:
        """Path of the output in the store: a PNG, or a verdict as JSON."""
        return image_path(self.stage.name, self.digest, "png" if self.stage.gives == "image" else "json")

    @property
    def details_path(self) -> str:
        """Path of what the stage had to say beyond a picture; written only where it said something."""
        return image_path(self.stage.name, self.digest, "details.json")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One output in the store."""

    uri: str
    data: bytes
    details: dict[str, Any]
    is_image: bool

    @classmethod
    def find(cls, store: Store, key: ArtifactKey) -> Self | None:
        """What lies under the key, or None."""
        try:
            data = _used_again(store, key.path)
        except FileNotFoundError:
            return None
        is_image = key.stage.gives == "image"
        details: dict[str, Any] = {}
        if is_image and store.exists(key.details_path):
            details = json.loads(_used_again(store, key.details_path))
        return cls(store.uri(key.path), data, details, is_image)

    @classmethod
    def create(cls, store: Store, key: ArtifactKey, output: Output) -> Self:
        """Keep an output; where another was first, that one is the artifact.

        Raises:
            StageFailed: the stage gave neither what its table row says nor an error.
        """
        if key.stage.gives == "image":
            if not output.image.startswith(_PNG_SIGNATURE):
                raise StageFailed(f"stage {key.stage.name} answered without a PNG")
            if output.details:  # before the picture, which commits both
                store.create_json(key.details_path, output.details)
            if store.create(key.path, output.image):
                return cls(store.uri(key.path), output.image, output.details, True)
        else:
            if output.verdict is None:
                raise StageFailed(f"stage {key.stage.name} answered without a verdict")
            verdict = {"verdict": output.verdict.model_dump(mode="json"), "details": output.details}
            store.create_json(key.path, verdict)
        found = cls.find(store, key)
        if found is None:
            raise StageFailed(f"{key.path} vanished after it was written")
        return found

    def fields(self) -> dict[str, Any]:
        """The fields of a `Result` that this output decides."""
        if self.is_image:
            width, height = struct.unpack_from(">II", self.data, 16)  # IHDR: PNG spec, section 11.2.1
            return {
                "status": Status.COMPLETED, "image_uri": self.uri, "sha256": sha256(self.data),
                "bytes": len(self.data), "width": width, "height": height, "details": self.details,
            }  # fmt: skip
        said = json.loads(self.data)
        verdict = Verdict(**said["verdict"])
        status = Status.COMPLETED if verdict.accepted else Status.REJECTED
        return {"status": status, "verdict": verdict, "details": said["details"]}


def _used_again(store: Store, path: str) -> bytes:
    data, written_s = store.read_written(path)
    if time.time() - written_s > FRESH_S:
        store.renew(path, data)
    return data
