"""Bring a stack up, take it down, and clean up after whatever stopped it otherwise."""

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from darkroom.errors import StackError
from darkroom.settings import settings
from darkroom.stack import environment, valkey
from darkroom.stack.credentials import ADMIN, Credentials
from darkroom.stack.home import Home, write_private
from darkroom.stack.launch import Launch, Report, Step
from darkroom.stack.layout import Stack
from darkroom.stack.leftovers import end_leftovers
from darkroom.stack.part import Part
from darkroom.stack.parts import metrics_token, parts
from darkroom.stack.ports import claimed_ports, usual_ports
from darkroom.stack.postgres import Postgres
from darkroom.stack.ready import make_pools, wait_until_parsed, warm_up
from darkroom.stack.schema import migrate
from darkroom.stack.supervisor import Supervisor, fingerprint, render

_DRAIN_NOTE = "written by `darkroom down`\n"
SHUTDOWN_S = 5.0
"""For a process manager to end, once its parts have."""


def bring_up(home: Home, report: Report) -> list[str]:
    """Start what does not run yet and wait until all of it works.

    Returns:
        Warnings for the user.

    Raises:
        StackError: a part failed. What this call started is stopped again.
    """
    home.create()
    with home.locked(), ExitStack() as claims:
        supervisor = Supervisor(home)
        fresh = not supervisor.is_running()
        try:
            warnings = _prepare(home, supervisor, claims) if fresh else _changes(home)
            stack = Stack.load(home)
            postgres = Postgres.place(home)
            Launch(home, supervisor, parts(stack), _steps(stack, postgres, fresh), report).run()
            make_pools(stack)
            warnings += wait_until_parsed(stack)
            if fresh and not warnings:
                report("warm-up", "running")
                warnings += warm_up(stack)
                report("warm-up", "done")
            return warnings
        except BaseException:
            if fresh:
                with undisturbed():
                    _take_down(home, report)
            raise


@contextmanager
def undisturbed() -> Iterator[None]:
    """An impatient second Ctrl-C, or SIGTERM, must not leave half of the plant behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def take_down(home: Home, report: Report) -> bool:
    """Stop everything, also what a crash left behind.

    Returns:
        Whether there was anything to stop.
    """
    if not home.path.exists():
        return False
    home.create()
    with home.locked(), undisturbed():
        return _take_down(home, report)


def remove_state(home: Home) -> None:
    """Remove the state folder of a stack that is down, and what lies outside of it.

    Raises:
        StackError: it is not a state folder, or not down.
    """
    if not home.path.exists():
        return
    if home.foreign() or not home.secrets_file.exists():
        raise StackError(f"{home.path} does not look like a state folder of ours: nothing was removed")
    with home.locked():
        if Supervisor(home).is_running():
            raise StackError("the stack is running; `darkroom down` first")
        for worker in home.workers():
            if Supervisor(worker).is_running():
                raise StackError(f"a `darkroom worker` is running on {worker.path}; end it first (Ctrl-C)")
        Postgres.place(home).remove_outside()
        shutil.rmtree(home.socket().parent, ignore_errors=True)
        shutil.rmtree(home.path)


def _prepare(home: Home, supervisor: Supervisor, claims: ExitStack) -> list[str]:
    ended = end_leftovers(home)
    _forget_drain()
    Credentials.load_or_create(home.secrets_file)
    ports = claims.enter_context(claimed_ports(usual_ports(), home.read_state().get("ports", {})))
    home.update_state(ports=ports)
    stack = Stack.load(home)
    valkey.write_conf(stack)
    write_private(
        home.airflow / "passwords.json", json.dumps({ADMIN: stack.credentials.admin_password}) + "\n"
    )
    write_private(home.metrics_token, metrics_token(stack))
    # Without it each process would write a default one, with keys of its own.
    write_private(home.airflow / "airflow.cfg", "# Set by the environment: see docs/settings.md.\n")
    home.forget_servers()
    conf, env = _configuration(stack)
    home.update_state(fingerprint=fingerprint(conf, env))
    supervisor.start(conf, env)
    return [f"ended {ended} leftover processes of a stack that was not stopped"] if ended else []


def _configuration(stack: Stack) -> tuple[str, dict[str, str]]:
    env = environment.base(stack.home) | {environment.MARK: str(stack.home.path)}
    return render(stack.home, parts(stack).values()), env


def _changes(home: Home) -> list[str]:
    conf, env = _configuration(Stack.load(home))
    if fingerprint(conf, env) == home.read_state().get("fingerprint"):
        return []
    return ["the running stack was started with other settings; `darkroom down` first to apply the new ones"]


def _steps(stack: Stack, postgres: Postgres, fresh: bool) -> dict[str, Step]:
    def create() -> bool:
        if fresh or not postgres.exists:  # an `up` that was killed may have left the rest running
            postgres.create(stack.credentials.postgres_password)
        return True

    steps = (
        Step("cluster", (), create, "preparing" if fresh else "checking"),
        Step("schema", ("postgres",), lambda: migrate(stack, postgres), "checking"),
    )
    return {step.name: step for step in steps}


def _take_down(home: Home, report: Report) -> bool:
    supervisor = Supervisor(home)
    found = supervisor.is_running()
    if found:
        marker = settings().drain_marker
        if not marker.exists():
            # Running chunks stop at their next item boundary instead of being killed later.
            marker.write_text(_DRAIN_NOTE)
        stop_all(supervisor, _known(supervisor, parts(Stack.load(home))), report)
        supervisor.shut_down(SHUTDOWN_S)
    found = end_leftovers(home) > 0 or found
    _forget_drain()
    for stale in (home.socket(), home.supervisor_pid):
        stale.unlink(missing_ok=True)
    return found


def _known(supervisor: Supervisor, listed: Mapping[str, Part]) -> dict[str, Part]:
    """The parts that are listed, and those that run though darkroom.toml names their stage no more."""
    patience_s = max(part.stop_wait_s for part in listed.values())
    # Theirs are the workers' needs: they stop with the first.
    unlisted = {
        name: Part(name, (), probe=lambda _started: True, uses=("api-server",), stop_wait_s=patience_s)
        for name in supervisor.processes()
        if name not in listed
    }
    return {**unlisted, **listed}


def stop_all(supervisor: Supervisor, listed: Mapping[str, Part], report: Report) -> None:
    """Stop all parts, each when nothing that needs or uses it is left.

    Raises:
        StackError: one does not stop.
    """
    for wave in stop_order(listed):
        _stop(supervisor, [listed[name] for name in wave], report)


def stop_order(listed: Mapping[str, Part]) -> list[list[str]]:
    """Waves of parts: each stops when nothing that needs or uses it is left."""
    left, waves = dict(listed), []
    while left:
        wanted = {name for part in left.values() for name in (*part.needs, *part.uses)}
        # The database has no process to need, only its schema does.
        wanted |= {"postgres"} if "schema" in wanted else set()
        wave = [name for name in left if name not in wanted]
        waves.append(wave)
        for name in wave:
            del left[name]
    return waves


def _stop(supervisor: Supervisor, wave: Iterable[Part], report: Report) -> None:
    known = supervisor.processes()
    waiting = {part.name: part for part in wave if part.name in known}
    until = time.monotonic() + max((part.stop_wait_s for part in waiting.values()), default=0) + SHUTDOWN_S
    for name in waiting:
        if known[name].state in ("STARTING", "RUNNING", "BACKOFF"):
            report(name, "stopping")
            supervisor.stop_part(name)
    while waiting:
        processes = supervisor.processes()
        for name in [n for n in waiting if processes[n].state in ("STOPPED", "EXITED", "FATAL")]:
            if known[name].state != "STOPPED":
                report(name, "stopped")
            del waiting[name]
        if waiting and time.monotonic() > until:
            raise StackError(f"does not stop: {', '.join(waiting)}")
        time.sleep(0.1)


def _forget_drain() -> None:
    marker = settings().drain_marker
    # One that somebody else wrote stays: this host was drained on purpose.
    if marker.exists() and marker.read_text() == _DRAIN_NOTE:
        marker.unlink()
