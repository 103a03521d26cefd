"""Have a stage examined in a process of its own, which may hang, leak or die."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from darkroom.flows import Stage
from darkroom.serving.process import without_secrets
from darkroom.settings import CONFIG_ENV, settings
from darkroom.stages.report import Doing, Finding, Line, Loaded, Recommended, Report, Speed

_START_S = 60.0
"""From the start of the process until it says what it does."""
_GRACE_S = 3.0
"""The process ends itself when a step takes too long; this much later it is killed."""
_IMPORT_S = 60.0
_TOLD_LINES = 30
_EXAMINERS = ("darkroom/stages/check.py", "darkroom/stages/contract.py", "darkroom/stages/measure.py")


@dataclass(frozen=True)
class Wanted:
    """What shall be measured."""

    sizes: Sequence[int]
    seconds: float
    prompt: str | None = None
    picture: Path | None = None

    def options(self) -> list[str]:
        """As the options of `darkroom.stages.check`."""
        given = {"--prompt": self.prompt, "--input": self.picture and str(self.picture)}
        return [
            f"--batch-sizes={','.join(map(str, self.sizes))}", f"--seconds={self.seconds}",
            *(f"{name}={value}" for name, value in given.items() if value is not None),
        ]  # fmt: skip


def examine(stage: Stage, wanted: Wanted, on_progress: Callable[[str, float], None]) -> Report:
    """Everything that can be found out about `stage`.

    Args:
        stage: its row.
        wanted: what to measure.
        on_progress: called with what is being done and the share that is done.
    """
    on_progress("importing its options", 0)
    findings = _weigh_options(stage)
    if _broken(findings):  # once more: the first import also compiles, and neighbours may have held it up
        findings = _weigh_options(stage)
    if _broken(findings):
        return Report(stage=stage.name, findings=findings)
    run = _Run(stage, on_progress)
    run.watch(wanted)
    recommended = Recommended.of(run.speeds, stage)
    findings += [*run.findings, *_limits(stage, run.speeds, recommended)]
    return Report(
        stage=stage.name, loaded=run.loaded, findings=findings, speeds=run.speeds, recommended=recommended
    )


def _broken(findings: Sequence[Finding]) -> bool:
    return any(finding.state == "failed" for finding in findings)


def _weigh_options(stage: Stage) -> list[Finding]:
    """Import its options as a DAG parse does: by the plant's interpreter, not the model servers'."""
    if stage.options is None:
        return [Finding(state="ok", what="it has no options: no DAG parse imports its module")]
    # Rows would be imported with the table; this one must be the first.
    alone = {CONFIG_ENV: os.devnull, "DARKROOM_STAGES": "", "DARKROOM_FLOWS": ""}
    environment = {**os.environ, **alone, "DARKROOM_CODE": str(settings().code)}
    command = [sys.executable, "-m", "darkroom.stages.parsing", stage.options]
    with tempfile.TemporaryFile() as said:
        try:
            done = subprocess.run(  # noqa: S603
                command, env=environment, stdout=subprocess.PIPE, stderr=said, timeout=_IMPORT_S, check=False
            )
            return [Finding.model_validate(finding) for finding in json.loads(done.stdout)]
        except subprocess.TimeoutExpired:
            what = f"importing its options takes more than {_IMPORT_S:g} s"
        except ValueError:
            what = f"importing its options ended the process ({_ending(done.returncode)})"
        todo = "every DAG parse imports them; do nothing up there"
        return [Finding(state="failed", what=what, todo=todo, traceback=_tail(said))]


def _limits(stage: Stage, speeds: Sequence[Speed], recommended: Recommended | None) -> Iterator[Finding]:
    """Whether the row's own batch size keeps within the row's limits."""
    own = [speed for speed in speeds if not speed.error and speed.batch_size <= stage.batch_size]
    if not own or recommended is None:
        return
    most = own[-1]
    if most.memory_mb > stage.memory_mb:
        yield Finding(
            state="failed",
            what=f"batches of {most.batch_size} take {most.memory_mb} MB; memory_mb is {stage.memory_mb}",
            todo="raise memory_mb, or its servers are replaced again and again",
        )
    if not most.in_time(stage):
        yield Finding(
            state="failed",
            what=f"{stage.batches_in_flight} batches of {most.batch_size}, which may wait at once, take "
            f"{most.p95_s * stage.batches_in_flight:.1f} s; deadline_s is {stage.deadline_s:g}",
            todo="raise deadline_s or lower batch_size, or its servers are taken to hang",
        )


@dataclass
class _Run:
    """One run of `darkroom.stages.check`."""

    stage: Stage
    on_progress: Callable[[str, float], None]
    loaded: Loaded | None = None
    findings: list[Finding] = field(default_factory=list)
    speeds: list[Speed] = field(default_factory=list)
    _doing: Doing | None = None
    _since: float = 0

    def watch(self, wanted: Wanted) -> None:
        """Take down what it tells until it ends; when it does not end by itself, that is a finding."""
        with tempfile.TemporaryFile() as said, _started(self.stage, wanted, said) as process:
            lines: queue.SimpleQueue[str] = queue.SimpleQueue()
            threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
            self._since = time.monotonic()
            while self._limit_s + _GRACE_S > (waited := time.monotonic() - self._since):
                with suppress(queue.Empty):
                    text = lines.get(timeout=self._limit_s + _GRACE_S - waited)
                    if not text:
                        break
                    if self._note(Line.model_validate_json(text)):
                        return
            self.findings.append(self._lost(process, said))

    @property
    def _limit_s(self) -> float:
        return float(getattr(self.stage, self._doing.limit)) if self._doing else _START_S

    def _note(self, line: Line) -> bool:
        if line.doing:
            self._doing, self._since = line.doing, time.monotonic()
            self.on_progress(line.doing.what, line.doing.share)
        self.loaded = line.loaded or self.loaded
        self.findings += filter(None, [line.finding])
        self.speeds += filter(None, [line.speed])
        return line.end

    def _lost(self, process: "subprocess.Popen[str]", said: IO[bytes]) -> Finding:
        outlived = time.monotonic() - self._since >= self._limit_s
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        # Its own watch began earlier than ours, and may have ended it first.
        hung = self._doing is not None and (outlived or "Timeout (" in _tail(said))
        what = self._doing.what if self._doing else "starting"
        if hung and self._doing:
            limit = f"{self._doing.limit} = {self._limit_s:g} s"
            return Finding(
                state="failed",
                what=f"{what} had not ended after {limit}, and was killed",
                todo=f"see where it was; if it only is slow, raise {self._doing.limit}",
                traceback=_where(_tail(said)),
            )
        return Finding(
            state="failed",
            what=f"its process ended while {what} ({_ending(process.poll())})",
            todo="a model must not end its process: all items in flight are lost",
            traceback=_tail(said),
        )


@contextmanager
def _started(stage: Stage, wanted: Wanted, said: IO[bytes]) -> Iterator["subprocess.Popen[str]"]:
    """The process, with the environment of a model server; at the end it is killed, children and all."""
    with subprocess.Popen(  # noqa: S603
        [_python(), "-m", "darkroom.stages.check", "--stage", stage.name, *wanted.options()],
        env={**without_secrets(os.environ), "OMP_NUM_THREADS": str(settings().threads)},
        stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _python() -> str:
    """The interpreter of the model servers."""
    return settings().server_python or sys.executable


def _pump(stream: IO[str], lines: "queue.SimpleQueue[str]") -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _tail(said: IO[bytes]) -> str:
    said.seek(0)
    return "\n".join(said.read().decode(errors="replace").splitlines()[-_TOLD_LINES:])


def _where(text: str) -> str:
    """The stage's own part of a traceback whose innermost frame is the first."""
    lines = text.splitlines()
    ours = [number for number, line in enumerate(lines) if any(module in line for module in _EXAMINERS)]
    return "\n".join(lines[: ours[0]] if ours else lines)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
