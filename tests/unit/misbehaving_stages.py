"""Stages that break their contract, one clause each, for the tests of `darkroom stage check`."""

import os
import signal
import sys
import time
from dataclasses import replace

from darkroom.errors import InvalidItem
from darkroom.records import Verdict
from darkroom.stages.base import Output, Request
from darkroom.stages.batch import run_each
from darkroom.stages.noop import PNG
from darkroom.stages.options import Options, parse_as


class Good:
    """Keeps the contract: echoes the picture."""

    def load(self):
        pass

    def run(self, batch):
        return run_each(batch, self.run_one)

    def run_one(self, request):
        parse_as(Options, request.options)
        return Output(image=request.image)

    def sample(self):
        return Request("sample", image=PNG)


class Judges(Good):
    def run_one(self, request):
        parse_as(Options, request.options)
        return Output(verdict=Verdict(accepted=True))


class TooFew(Good):
    def run(self, batch):
        return super().run(batch)[:1]


class NoList(Good):
    def run(self, batch):
        return tuple(super().run(batch))


class OddAnswers(Good):
    def run(self, batch):
        return [PNG for _ in batch]


class Reversed(Good):
    def run(self, batch):
        return super().run(batch[::-1])


class NoPng(Good):
    def run_one(self, request):
        return replace(super().run_one(request), image=b"\xff\xd8\xff\xe0 JFIF")


class CutPng(Good):
    def run_one(self, request):
        return replace(super().run_one(request), image=PNG[:-1])


class NoBytes(Good):
    def run_one(self, request):
        return replace(super().run_one(request), image=[1, 2, 3])


class NoPicture(Good):
    def run_one(self, request):
        return replace(super().run_one(request), image=b"")


class OddDetails(Good):
    def run_one(self, request):
        return replace(super().run_one(request), details={"when": {1, 2}})


class AnyOption(Good):
    def run_one(self, request):
        return Output(image=request.image)


class OptionOfOtherError(Good):
    def run_one(self, request):
        if request.options:
            raise KeyError("no_such_option")
        return Output(image=request.image)


class TakesNeighboursAlong(Good):
    def run(self, batch):
        for request in batch:
            if request.options:
                return [InvalidItem("options.no_such_option: unknown")] * len(batch)
        return super().run(batch)


class Raises(Good):
    def run(self, batch):
        if len(batch) > 1:
            raise_here()
        return super().run(batch)


class RaisesOnItems(Good):
    def run_one(self, request):
        raise_here()


def raise_here():
    raise RuntimeError("no kernel image is available")


class NeverTheSame(Good):
    calls = 0

    def run(self, batch):
        NeverTheSame.calls += 1
        return [Output(image=a.image[:-12] + b"%012d" % self.calls + a.image[-12:])
                if isinstance(a, Output) else a for a in super().run(batch)]  # fmt: skip


class BatchShapes(Good):
    def run(self, batch):
        return [Output(image=a.image[:-12] + b"%012d" % len(batch) + a.image[-12:])
                if isinstance(a, Output) else a for a in super().run(batch)]  # fmt: skip


class RollsDice(Good):
    def run_one(self, request):
        image = super().run_one(request).image
        return Output(image=image[:-12] + b"%012d" % request.seed + image[-12:])


class Refuses(Good):
    def run_one(self, request):
        raise InvalidItem("prompt: I need one")


class OddSample(Good):
    def sample(self):
        return {"custom_id": "sample"}


class LoadRaises(Good):
    def load(self):
        raise_here()


class WantsConfig(Good):
    def __init__(self, weights):
        self.weights = weights


class NoRun:
    def load(self):
        pass

    def sample(self):
        return Request("sample", image=PNG)


class HangsInLoad(Good):
    def load(self):
        time.sleep(600)


class HangsInRun(Good):
    def run(self, batch):
        if len(batch) > 1:
            time.sleep(600)
        return super().run(batch)


class Dies(Good):
    def run(self, batch):
        if len(batch) > 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().run(batch)


class Exits(Good):
    def load(self):
        sys.exit("usage: no such flag")


class OutOfMemory(Good):
    def run(self, batch):
        if len(batch) > 4:
            raise MemoryError("out of memory")
        return super().run(batch)


class Prints(Good):
    def load(self):
        print("Loading pipeline components...")

    def run(self, batch):
        print("step 1 of 1")
        return super().run(batch)


class Grows(Good):
    def run(self, batch):
        self.kept = [bytes([1]) * (30 << 20) for _ in batch]
        return super().run(batch)


class Sleeps(Good):
    """Faster per item in batches of four, and no faster in larger ones."""

    device = "toaster:0"

    def run(self, batch):
        time.sleep({1: 0.05, 2: 0.05, 3: 0.05, 4: 0.05, 8: 0.1}[len(batch)])
        return super().run(batch)
