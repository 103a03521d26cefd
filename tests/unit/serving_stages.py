"""Stages that misbehave on request, for the tests of the model server and its supervisor."""

import os
import signal
import time
from pathlib import Path

from darkroom.errors import InvalidItem, ItemError
from darkroom.stages.base import Output, Request


class Puppet:
    """Does what a prompt says: `hang`, `raise`, `fail`, `leak`, `die`, `slow`; else it echoes the picture."""

    def load(self) -> None:
        self.leaked = []

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        prompts = [request.prompt for request in batch]
        if mark := os.environ.get("PUPPET_MARK"):
            Path(mark).write_text(" ".join(prompts))
        if "hang" in prompts:
            time.sleep(600)
        if "die" in prompts:
            os.kill(os.getpid(), signal.SIGKILL)
        if "slow" in prompts:
            time.sleep(0.5)
        if "leak" in prompts:
            self.leaked.append(bytes([1]) * (50 << 20))
        if "raise" in prompts:
            raise RuntimeError("out of memory")
        return [
            InvalidItem("prompt: told to fail")
            if request.prompt == "fail"
            else Output(
                image=request.image,
                details={"batch": len(batch), "id": request.custom_id, "pid": os.getpid()},
            )
            for request in batch
        ]

    def sample(self) -> Request:
        return Request("canary", prompt="echo")


class Diary(Puppet):
    """Writes down the ids of each batch, before it works on it for half a second."""

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        ids = " ".join(request.custom_id for request in batch)
        if ids != "canary":
            with Path(os.environ["DIARY"]).open("a") as diary:
                diary.write(f"{ids}\n")
            time.sleep(0.5)
        return super().run(batch)


class Keeper(Puppet):
    """Keeps book of which process began a batch and which ended one."""

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        with Path(os.environ["DIARY"]).open("a", buffering=1) as diary:
            diary.write(f"{os.getpid()} began\n")
            answers = super().run(batch)
            diary.write(f"{os.getpid()} ended\n")
        return answers


class Unloadable(Puppet):
    def load(self) -> None:
        raise RuntimeError("no such device")


class Sick(Puppet):
    """Loads, but can't run its own sample."""

    def sample(self) -> Request:
        return Request("canary", prompt="fail")


class Falls(Puppet):
    """Its sample works until a file is there, as on a GPU whose driver has failed."""

    def __init__(self, marker: str) -> None:
        self.marker = Path(marker)

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        if self.marker.exists():
            self.marker.unlink()
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().run(batch)


class Miscounts(Puppet):
    """Gives an answer too few."""

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        return super().run(batch)[1:] if batch[0].prompt != "echo" else super().run(batch)
