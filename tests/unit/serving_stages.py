"""Stages that misbehave on request, for the model server's tests."""

import time

from darkroom.errors import InvalidItem, ItemError
from darkroom.stages.base import Output, Request


class Puppet:
    """Does what the prompt says: `hang`, `raise`, `fail`, `short`; else it echoes the picture."""

    def load(self) -> None:
        pass

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        prompts = [request.prompt for request in batch]
        if "hang" in prompts:
            time.sleep(600)
        if "raise" in prompts:
            raise RuntimeError("out of memory")
        return [
            InvalidItem("prompt: told to fail")
            if request.prompt == "fail"
            else Output(image=request.image, details={"batch": len(batch), "id": request.custom_id})
            for request in batch
        ]

    def sample(self) -> Request:
        return Request("canary", prompt="echo")


class Unloadable(Puppet):
    def load(self) -> None:
        raise RuntimeError("no such device")


class Sick(Puppet):
    """Loads, but can't run its own sample."""

    def sample(self) -> Request:
        return Request("canary", prompt="fail")
