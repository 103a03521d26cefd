"""What the running batches wait for, in a sentence with its evidence."""

from collections.abc import Sequence

from darkroom.views.overview import Bottleneck, StageNow, WhatIf

BUSY = 0.8
"""Servers that compute less than this while chunks wait are not what holds the work up."""
PATIENCE_S = 15.0
"""So long a chunk may wait for an idle lane before that says anything: a hop takes a second or two."""
_IDLE = 0.6
"""Servers whose lanes are taken and that compute less than this wait for the plant around them."""
_WORTH = 0.01
NOBODY_KNOWS = Bottleneck(
    kind="unknown", stage=None, sentence="Redis does not answer, so nobody knows what waits.",
    chunks_waiting=0, servers=0, utilisation=None, time_left_s=None,
)  # fmt: skip


def bottleneck(
    stages: Sequence[StageNow], running: int, time_left_s: float | None, longest: str | None
) -> Bottleneck:
    """Name it.

    Args:
        stages: all that a running batch needs.
        running: batches that are neither paused nor ended.
        time_left_s: until they end.
        longest: the stage that decides it.
    """
    if without := [stage for stage in stages if stage.items_remaining and stage.why_none]:
        stage = max(without, key=lambda one: one.items_waiting)
        return _of(stage, "no_server", None, _no_server(stage))
    stage_now = next((one for one in stages if one.stage == longest), None)
    if stage_now is None:
        about = "no batch is running" if not running else "the running batches are being planned or collected"
        return Bottleneck(
            kind="none", stage=None, sentence=f"Nothing waits for a server: {about}.", chunks_waiting=0,
            servers=0, utilisation=None, time_left_s=time_left_s,
        )  # fmt: skip
    if idle := next((one for one in stages if _stands_idle(one)), None):
        return _of(idle, "plant", time_left_s, _plant(idle))
    return _of(stage_now, "stage", time_left_s, _slowest(stage_now))


def chunks_waiting(stage: StageNow) -> int:
    """Those that would run if a lane were free."""
    return stage.waiting.scheduler + stage.waiting.broker


def _stands_idle(stage: StageNow) -> bool:
    return (
        chunks_waiting(stage) > 0
        and stage.lanes.idle > 0
        and (stage.utilisation or 0.0) < BUSY
        and (stage.wait.longest_s or 0.0) > PATIENCE_S
    )


def _of(stage: StageNow, kind: str, time_left_s: float | None, sentence: str) -> Bottleneck:
    return Bottleneck.model_validate({
        "kind": kind, "stage": stage.stage, "sentence": sentence, "chunks_waiting": chunks_waiting(stage),
        "servers": stage.servers.ready, "utilisation": stage.utilisation, "time_left_s": time_left_s,
    })  # fmt: skip


def _no_server(stage: StageNow) -> str:
    waiting = chunks_waiting(stage)
    number, noun = (waiting, "chunk") if waiting else (stage.items_remaining, "item")
    what = f"{_count(number, noun)} {_verb(number, 'wait')}"
    return f"{stage.stage} has no server, and {what} for one: {stage.why_none}."


def _plant(stage: StageNow) -> str:
    waiting = chunks_waiting(stage)
    return (
        f"The plant itself is the limit: {_count(waiting, 'chunk')} {_verb(waiting, 'wait')} for "
        f"{stage.stage}, {stage.wait.longest_s or 0:.0f} s by now, while {stage.lanes.idle} of its "
        f"{_count(stage.lanes.busy + stage.lanes.idle, 'lane')} {_verb(stage.lanes.idle, 'stand')} idle; "
        "another server would not help, so look at the scheduler and the workers."
    )


def _slowest(stage: StageNow) -> str:
    waiting = chunks_waiting(stage)
    servers = stage.servers.ready
    whose = f"its {servers} servers are" if servers > 1 else "its only server is"
    busy = (
        f", {whose} {stage.utilisation:.0%} busy".replace("%", " %") if stage.utilisation is not None else ""
    )
    told = f"{_count(waiting, 'chunk')} {_verb(waiting, 'wait')}" if waiting else "it has most left to do"
    if waiting and stage.utilisation is not None and stage.utilisation < _IDLE:
        busy += ", and the rest is lost between items and chunks"
    return f"{stage.stage} is the bottleneck: {told}{busy}; {_effect(stage.stage, stage.more)}."


def _effect(stage: str, more: WhatIf) -> str:
    change = more.change or 0.0
    if change > -_WORTH:
        then = f", as {more.bottleneck} needs as long" if more.bottleneck not in (stage, None) else ""
        return f"one more would not end the running batches sooner{then}"
    return f"one more ends the running batches {-change:.0%} sooner".replace("%", " %")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _verb(number: int, verb: str) -> str:
    return f"{verb}s" if number == 1 else verb
