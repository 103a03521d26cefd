"""A machine that works for a plant: per device and stage a model server and a Celery worker.

One more worker takes what somebody waits for to all of them.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from darkroom.errors import BadRequest, StackError
from darkroom.fleet.plant import check_that_it_is_ours
from darkroom.flows import STAGES, Stage
from darkroom.serving.keeper import OWNER_ENV
from darkroom.serving.status import ServerStatus, status_file
from darkroom.serving.supervisor import NO_GPU
from darkroom.settings import settings
from darkroom.stack import health
from darkroom.stack.devices import Device
from darkroom.stack.environment import MARK, base, joined
from darkroom.stack.home import Home, locked_file
from darkroom.stack.join import Join
from darkroom.stack.launch import Launch, Report
from darkroom.stack.leftovers import end_leftovers
from darkroom.stack.lifecycle import SHUTDOWN_S, stop_all, undisturbed
from darkroom.stack.part import Part
from darkroom.stack.ports import claimed_ports
from darkroom.stack.serving_parts import Site, celery_name
from darkroom.stack.supervisor import Supervisor, render
from darkroom.store.storage import open_store

_FIRST_PORT = 8201
_POLL_S = 1.0


@dataclass(frozen=True)
class GpuHost:
    """Which stages this machine runs on which of its devices."""

    stages: Sequence[Stage]
    devices: Sequence[Device]

    @property
    def home(self) -> Home:
        """Its state folder, beside that of a plant on the same machine."""
        stages = "+".join(stage.name for stage in self.stages)
        return Home(settings().home / "workers" / "-".join([stages, *(d.label for d in self.devices)]))

    @property
    def servers(self) -> list[tuple[str, Stage, Device]]:
        """Each server: its name, its stage, its device."""
        return [(f"{s.name}-{device.label}", s, device) for device in self.devices for s in self.stages]

    def check_memory(self) -> None:
        """Return if what the stages declare fits on each device.

        Raises:
            BadRequest: it doesn't; with the sum and what there is.
        """
        wanted = sum(stage.memory_mb for stage in self.stages)
        for device in self.devices:
            if wanted > device.memory_mb:
                declared = " + ".join(f"{stage.name} {stage.memory_mb}" for stage in self.stages)
                raise BadRequest(
                    f"{declared} = {wanted} MB (memory_mb in the stage table) do not fit on {device.label} "
                    f"with {device.memory_mb} MB: give it fewer stages, or correct what they declare"
                )

    def run(self, join: Join, report: Report) -> None:
        """Work for the plant until interrupted (KeyboardInterrupt); then drain.

        Raises:
            CannotJoin: this is not the plant's store, or it is of another version.
            BadRequest: the stages don't fit, or a GPU is taken already.
            StackError: a part does not start; with the end of its log.
            KeyboardInterrupt: before everything worked.
        """
        self.check_memory()
        check_that_it_is_ours(open_store(join.store), join.redis_url)
        home = self.home
        home.create()
        with self._alone(), ExitStack() as claims:
            end_leftovers(home)
            home.forget_servers()
            home.drain_marker.unlink(missing_ok=True)
            supervisor, parts = Supervisor(home), self._parts(join, claims)
            env = base(home) | join.shared() | {MARK: str(home.path), OWNER_ENV: str(os.getpid())}
            try:
                supervisor.start(render(home, parts.values()), env)
                Launch(home, supervisor, parts, {}, report).run()
                self._watch(supervisor, report)
            finally:
                with undisturbed():
                    self._drain(supervisor, parts, report)

    def _drain(self, supervisor: Supervisor, parts: dict[str, Part], report: Report) -> None:
        """Stop all: chunks at an item boundary, then the rest; whatever goes wrong, nothing is left."""
        self.home.drain_marker.write_text("written by `darkroom worker`\n")
        try:
            if supervisor.is_running():
                stop_all(supervisor, parts, report)
                supervisor.shut_down(SHUTDOWN_S)
        finally:
            end_leftovers(self.home)

    def _parts(self, join: Join, claims: ExitStack) -> dict[str, Part]:
        home = self.home
        usual = {name: _FIRST_PORT for name, _, _ in self.servers}
        ports = claims.enter_context(claimed_ports(usual, home.read_state().get("ports", {})))
        home.update_state(ports=ports)
        now = f"now-{self.servers[0][0]}"
        site = Site(
            home=home,
            ping=health.WorkerPing(join.broker_url, [celery_name(name) for name in (now, *ports)]),
            redis_url=join.redis_url,
            environment=joined(join, home),
            server_first=True,
            now=now,
        )
        listed = [site.now_worker([(stage, name) for name, stage, _ in self.servers])]
        for name, stage, device in self.servers:
            listed += site.server_with_worker(stage, name, ports[name], device.gpu or NO_GPU)
        return {part.name: part for part in listed}

    def _watch(self, supervisor: Supervisor, report: Report) -> None:
        """Report what the servers are doing until interrupted.

        Raises:
            StackError: the process manager died.
        """
        try:
            while True:
                if not supervisor.is_running():
                    raise StackError("the process manager of this worker has ended")
                for name, _, _ in self.servers:
                    status = ServerStatus.read(status_file(self.home.path, name))
                    if status is not None:
                        report(f"server-{name}", ": ".join(filter(None, [status.state, status.reason])))
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            return

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep every other worker off this state folder and off these GPUs.

        Raises:
            StackError: there is one; a GPU's memory is counted in one place only.
        """
        with ExitStack() as locks:
            locks.enter_context(locked_file(self.home.path / "lock", "this worker runs already"))
            # A GPU's memory is counted in one command; of a CPU's servers only the names must differ.
            for what in {name if device.gpu is None else device.label for name, _, device in self.servers}:
                taken = f"{what} is taken by another worker; name all its stages in one command"
                locks.enter_context(locked_file(self.home.path.parent / f".{what}.lock", taken))
            yield


def find_stages(names: str) -> list[Stage]:
    """The stages of a list such as `generate,inspect`.

    Raises:
        BadRequest: one is not in the table, or given twice.
    """
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in STAGES:
            raise BadRequest(f"--stage {name!r}: there are {', '.join(STAGES)}")
        if wanted.count(name) > 1:
            raise BadRequest(f"--stage {name} is given twice; for more servers, name more GPUs")
    return [STAGES[name] for name in wanted]
