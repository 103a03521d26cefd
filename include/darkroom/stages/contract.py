"""Does a stage keep its side: as many answers as asked, in order, each of its kind, and repeatable."""

import hashlib
import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from darkroom.errors import InvalidItem, ItemError
from darkroom.flows import Stage
from darkroom.records import Verdict
from darkroom.stages.base import Output, Request, StageModel
from darkroom.stages.report import Finding

UNKNOWN_OPTION = "no_such_option"
_PNG_BEGIN, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_RUN_EACH = "answer an ItemError in its item's place; darkroom.stages.batch:run_each does so"


class Broken(Exception):
    """The contract is broken; what follows can't be judged."""

    def __init__(self, what: str, todo: str, text: str = "") -> None:
        super().__init__(what)
        self.finding = Finding(state="failed", what=what, todo=todo, traceback=text)


def user_traceback(error: BaseException | None) -> str:
    """The traceback from the stage's own code on; empty where there is no error."""
    if error is None:
        return ""
    below = error.__traceback__.tb_next if error.__traceback__ else None
    return "".join(traceback.format_exception(type(error), error, below or error.__traceback__))


def ask(model: StageModel, batch: list[Request]) -> list[Output | ItemError]:
    """The stage's answers, one for each request.

    Raises:
        Broken: it raised, or answered something else.
    """
    try:
        answers: Any = model.run(batch)
    # User code may raise anything.
    except Exception as error:
        what = f"run() raised {type(error).__name__} on {_items(len(batch))}: {error}"
        raise Broken(what, _RUN_EACH, user_traceback(error)) from error
    if not isinstance(answers, list):
        raise Broken(f"run() gave a {type(answers).__name__}", "return a list of Output and ItemError")
    if len(answers) != len(batch):
        what = f"run() gave {_items(len(answers), 'answer')} to {_items(len(batch))}"
        raise Broken(what, "return one answer for each request, in the order of the batch")
    for answer in answers:
        if not isinstance(answer, Output | ItemError):
            raise Broken(f"run() answered with a {type(answer).__name__}", "return Output or ItemError")
    return answers


@dataclass
class Contract:
    """One stage held to its contract."""

    stage: Stage
    model: StageModel
    request: Request
    """What it must be able to do: its sample, or a real item."""
    alive: Callable[[], None] = lambda: None
    """Called before each call of `run`."""

    def check(self) -> Iterator[Finding]:
        """The findings, one by one; the first that is fatal is the last."""
        self._different = _different(self.request)
        steps: list[Callable[[], Iterator[Finding]]] = [
            self._counts, self._kinds, self._options, self._neighbours, self._repeats, self._rolls_no_dice,
        ]  # fmt: skip
        for step in steps:
            try:
                yield from step()
            except Broken as broken:
                yield broken.finding
                return

    def _counts(self) -> Iterator[Finding]:
        self._together = self._ask(self._different)
        yield Finding(state="ok", what=f"{_items(len(self._together))} in, as many answers out")

    def _kinds(self) -> Iterator[Finding]:
        wanted = "a PNG" if self.stage.gives == "image" else "a verdict"
        answer = self._ask([self.request])[0]
        if isinstance(answer, ItemError):
            what = f"run() refused {self.request.custom_id}: {type(answer).__name__}: {answer}"
            todo = "look at the item, or at run(): nothing can be measured with it"
            raise Broken(what, todo, user_traceback(answer.__cause__))
        if self.stage.gives == "image":
            _check_png(answer.image)
        elif not isinstance(answer.verdict, Verdict):
            given = (
                "no verdict" if answer.verdict is None else f"a {type(answer.verdict).__name__} as verdict"
            )
            raise Broken(f"run() gave {given}", "return Output(verdict=Verdict(accepted=...))")
        _check_details(answer.details)
        yield Finding(state="ok", what=f"an answer is {wanted}, as `gives` says")

    def _options(self) -> Iterator[Finding]:
        answer = self._ask([self._bad()])[0]
        if isinstance(answer, InvalidItem) and UNKNOWN_OPTION in str(answer):
            yield Finding(state="ok", what="an unknown option is an InvalidItem that names it")
            return
        shown = f"{type(answer).__name__}: {answer}" if isinstance(answer, ItemError) else "a result"
        yield Finding(
            state="failed",
            what=f"an unknown option gave {shown[:200]}",
            todo="parse request.options with darkroom.stages.options:parse_as, which raises InvalidItem",
            traceback=user_traceback(answer.__cause__) if isinstance(answer, ItemError) else "",
        )

    def _neighbours(self) -> Iterator[Finding]:
        before, bad, after = self._ask([self.request, self._bad(), self.request])
        if isinstance(before, ItemError) or isinstance(after, ItemError):
            yield Finding(state="failed", what="a bad item took its neighbours along", todo=_RUN_EACH)
        elif isinstance(bad, ItemError):
            yield Finding(state="ok", what="a bad item fails alone, in its place")

    def _repeats(self) -> Iterator[Finding]:
        alone = [_print_of(self._ask([request])[0]) for request in self._different]
        again = [_print_of(self._ask([request])[0]) for request in self._different]
        together = [_print_of(answer) for answer in self._together]
        if alone != again:
            yield Finding(
                state="warning",
                what="the same request gave different answers",
                todo="draw random numbers from request.seed alone; a chunk tried again is else another one",
            )
        elif together == alone:
            yield Finding(state="ok", what="the same request gives the same bytes, alone and in a batch")
        elif sorted(together) == sorted(alone):
            raise Broken(
                "run() answered in another order than it was asked",
                "return the answers in the order of the batch",
            )
        else:
            yield Finding(
                state="warning",
                what="the same request gave other bytes in a batch than alone",
                todo="a seed of its own per item, not per batch; matrix products also round differently "
                "in batches of other shapes: batch_size = 1 would make pictures repeatable",
            )

    def _rolls_no_dice(self) -> Iterator[Finding]:
        if self.stage.takes == "prompt":
            return
        seeds = [replace(self.request, seed=seed) for seed in (1, 2)]
        one, two = (_print_of(self._ask([request])[0]) for request in seeds)
        if one != two:
            yield Finding(
                state="warning",
                what="another seed gives another answer",
                todo="the seed is no part of the key of a stage that takes a picture: make it an option",
            )

    def _ask(self, batch: list[Request]) -> list[Output | ItemError]:
        self.alive()
        return ask(self.model, batch)

    def _bad(self) -> Request:
        return replace(self.request, custom_id="bad", options={**self.request.options, UNKNOWN_OPTION: 1})


def _check_png(image: Any) -> None:
    todo = 'return Output(image=...) with the bytes of a PNG file: picture.save(buffer, "PNG")'
    if not isinstance(image, bytes):
        raise Broken(f"Output.image is a {type(image).__name__}, not bytes", todo)
    if not image:
        raise Broken("run() gave no picture", todo)
    if not image.startswith(_PNG_BEGIN):
        raise Broken(f"Output.image is no PNG: it begins with {image[:8]!r}", todo)
    if not image.endswith(_PNG_END):
        raise Broken("Output.image is a PNG without its end", todo)


def _check_details(details: Any) -> None:
    try:
        json.dumps(details)
    except (TypeError, ValueError) as error:
        raise Broken(
            f"Output.details is no JSON: {error}", "put plain numbers, texts and lists in"
        ) from error


def _different(request: Request) -> list[Request]:
    """Three requests that differ in what shapes an answer, so that their order can be seen."""
    images = _variants(request.image) if request.image else [request.image] * 3
    return [
        replace(request, custom_id=f"{request.custom_id}-{number}", seed=request.seed + number, image=image)
        for number, image in enumerate(images)
    ]


def _variants(data: bytes) -> list[bytes]:
    """The picture, its negative, and a darker one."""
    from PIL import Image, ImageOps  # noqa: PLC0415  (a stage that takes prompts may do without)

    try:
        picture = Image.open(BytesIO(data)).convert("RGB")
    except OSError:  # what the stage itself can read, it may also judge itself
        return [data] * 3
    return [data, _png(ImageOps.invert(picture)), _png(picture.point(lambda value: value // 2))]


def _png(picture: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _print_of(answer: Output | ItemError) -> str:
    """What must be the same again; `details` may hold times."""
    if isinstance(answer, ItemError):
        return f"{answer.code}: {answer}"
    verdict = answer.verdict.model_dump_json() if answer.verdict else ""
    return hashlib.sha256(answer.image + verdict.encode()).hexdigest()


def _items(count: int, noun: str = "item") -> str:
    return f"{count} {noun}" + ("s" if count != 1 else "")
