"""Start what is not up, in the order of needs, side by side where nothing forbids it; wait for health."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from darkroom.errors import StackError
from darkroom.stack.home import Home
from darkroom.stack.part import Part
from darkroom.stack.schema import tail
from darkroom.stack.supervisor import Process, Supervisor

Report = Callable[[str, str], None]
"""Called with a part and its state whenever that changes."""

_POLL_S = 0.25
_DEATHS = 4
"""So many starts of a part whose needs are met: waiting longer won't help."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something to be done once between the parts."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[], bool]
    """True when it is done."""
    says: str


@dataclass
class Launch:
    """One start of a stack."""

    home: Home
    supervisor: Supervisor
    parts: Mapping[str, Part]
    steps: Mapping[str, Step]
    report: Report
    _done: set[str] = field(default_factory=set)
    _begun: dict[str, float] = field(default_factory=dict)
    _starts: dict[str, set[float]] = field(default_factory=dict)
    _work: dict[str, Future[bool]] = field(default_factory=dict)

    def run(self) -> None:
        """Return when every part works.

        Raises:
            StackError: a step or a part failed or missed its deadline; with the end of its log.
        """
        pool = ThreadPoolExecutor(max_workers=len(self.parts) + len(self.steps))
        try:
            while len(self._done) < len(self.parts) + len(self.steps):
                processes = self.supervisor.processes()
                for step in self.steps.values():
                    self._advance_step(step, pool)
                for part in self.parts.values():
                    if part.name not in self._done:
                        self._advance_part(part, processes[part.name], pool)
                time.sleep(_POLL_S)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _advance_step(self, step: Step, pool: ThreadPoolExecutor) -> None:
        if step.name in self._done or not self._may_begin(step.name, step.needs, step.says):
            return
        if self._finished(step.name, step.run, pool):
            self._mark_done(step.name, "done")

    def _advance_part(self, part: Part, process: Process, pool: ThreadPoolExecutor) -> None:
        if not self._may_begin(part.name, part.needs, "checking" if process.is_up else "starting"):
            return
        if process.state in ("STOPPED", "EXITED", "FATAL") and part.name not in self._starts:
            self.supervisor.start_part(part.name)
        starts = self._starts.setdefault(part.name, set())
        if process.is_up:
            starts.add(process.started)
            if self._finished(part.name, lambda: part.probe(process.started), pool):
                self._mark_done(part.name, "healthy")
                return
        if reason := part.fails():
            raise StackError(f"{part.name} does not work: {reason}; see {self.home.log(part.name)}")
        waited_s = time.monotonic() - self._begun[part.name]
        if process.state == "FATAL" or len(starts) >= _DEATHS:
            raise self._failure(part, f"does not stay up ({process.description})")
        if waited_s > part.deadline_s:
            raise self._failure(part, f"does not work after {part.deadline_s:.0f} s")

    def _may_begin(self, name: str, needs: tuple[str, ...], says: str) -> bool:
        if name in self._begun:
            return True
        if missing := [need for need in needs if need not in self._done]:
            self.report(name, f"waits for {', '.join(missing)}")
            return False
        self._begun[name] = time.monotonic()
        self.report(name, says)
        return True

    def _finished(self, name: str, job: Callable[[], bool], pool: ThreadPoolExecutor) -> bool:
        """Whether a job that runs beside us has said yes; started, and started again, as needed."""
        future = self._work.get(name)
        if future is None:
            self._work[name] = pool.submit(job)
            return False
        if not future.done():
            return False
        del self._work[name]
        return future.result()

    def _mark_done(self, name: str, state: str) -> None:
        self._done.add(name)
        self.report(name, f"{state} after {time.monotonic() - self._begun[name]:.1f} s")

    def _failure(self, part: Part, what: str) -> StackError:
        log = self.home.log(part.name)
        text = log.read_text(errors="replace") if log.exists() else ""
        return StackError(f"{part.name} {what}; the end of {log}:\n{tail(text)}")
