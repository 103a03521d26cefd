"""The process manager: supervisord, generated configuration, and its XML-RPC over a private socket."""

import hashlib
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from darkroom.errors import StackError
from darkroom.stack.home import Home, write_private
from darkroom.stack.part import Part

_START_S = 20.0
_QUICK_DEATH_S = 15
"""Who dies sooner is restarted with a back-off that grows by a second each time."""
_FOR_EVER = 1_000_000
"""Restarts: nothing may be given up while, say, PostgreSQL is away."""


@dataclass(frozen=True, slots=True)
class Process:
    """What supervisord knows of one part."""

    state: str
    """STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL."""
    pid: int
    started: float
    """Epoch of its last start; 0 if never."""
    description: str

    @property
    def is_up(self) -> bool:
        """Whether it has a process. `STARTING` only means that it is younger than the quick-death limit."""
        return self.state in ("STARTING", "RUNNING")


class Supervisor:
    """The supervisord of one state folder."""

    def __init__(self, home: Home) -> None:
        """Talk to the daemon of `home`, running or not."""
        self._home = home
        self._socket = home.socket()

    def is_running(self) -> bool:
        """Whether the daemon answers."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except StackError:
            return False

    def start(self, conf: str, env: Mapping[str, str]) -> None:
        """Start the daemon, which starts nothing by itself.

        Raises:
            StackError: it does not come up.
        """
        write_private(self._home.supervisor_conf, conf)
        self._socket.unlink(missing_ok=True)
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._home.supervisor_conf)],
            env=dict(env), cwd="/", check=False, capture_output=True, text=True, timeout=_START_S,
        )  # fmt: skip
        until = time.monotonic() + _START_S
        while not self.is_running():
            if done.returncode != 0 or time.monotonic() > until:
                raise StackError(f"supervisord does not start: {done.stdout}{done.stderr}")
            time.sleep(0.05)

    def processes(self) -> dict[str, Process]:
        """All parts it knows, by name."""
        return {
            info["name"]: Process(info["statename"], info["pid"], float(info["start"]), info["description"])
            for info in self._call("getAllProcessInfo")
        }

    def start_part(self, name: str) -> None:
        """Start a part, if it is not up, and don't wait."""
        self._call("startProcess", name, False, unless=Faults.ALREADY_STARTED)

    def stop_part(self, name: str) -> None:
        """Ask a part to stop, and don't wait."""
        self._call("stopProcess", name, False, unless=Faults.NOT_RUNNING)

    def shut_down(self, timeout_s: float) -> None:
        """End the daemon; it stops what still runs."""
        pid = int(self._call("getPID"))
        self._call("shutdown")
        try:
            psutil.Process(pid).wait(timeout_s)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired as error:
            raise StackError(f"supervisord (pid {pid}) does not end") from error

    def _call(self, method: str, *arguments: Any, unless: int | None = None) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        try:
            proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == unless:
                return None
            raise StackError(f"supervisord: {method}{arguments}: {fault.faultString}") from fault
        except (OSError, HTTPException, xmlrpc.client.ProtocolError) as error:
            raise StackError(f"supervisord does not answer on {self._socket}: {error}") from error
        finally:
            transport.close()


def render(home: Home, parts: Iterable[Part]) -> str:
    """The configuration file, with the secrets of each part in it."""
    sections: dict[str, dict[str, object]] = {
        "supervisord": {
            "logfile": home.log("supervisord"), "logfile_maxbytes": "10MB", "logfile_backups": 1,
            "pidfile": home.supervisor_pid, "umask": "077", "identifier": "darkroom",
        },
        "unix_http_server": {"file": home.socket(), "chmod": "0700"},
        "supervisorctl": {"serverurl": f"unix://{home.socket()}"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
    }  # fmt: skip
    sections |= {f"program:{part.name}": _program(home, part) for part in parts}
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={str(value).replace('%', '%%')}\n" for key, value in options.items())
        for name, options in sections.items()
    )


def fingerprint(conf: str, env: Mapping[str, str]) -> str:
    """Tells whether a running stack was started as it would be started now."""
    ours = sorted((key, value) for key, value in env.items() if key.startswith("DARKROOM_"))
    return hashlib.sha256(f"{conf}{ours}".encode()).hexdigest()


def _program(home: Home, part: Part) -> dict[str, object]:
    options: dict[str, object] = {
        "command": shlex.join(part.command),
        "directory": "/",
        "autostart": "false",
        "autorestart": "true",
        "startsecs": _QUICK_DEATH_S,
        "startretries": _FOR_EVER,
        "stopsignal": part.stop_signal,
        "stopwaitsecs": part.stop_wait_s,
        "killasgroup": "true",
        "redirect_stderr": "true",
        # Expanded twice, so a `%` must be doubled once more than elsewhere.
        "stdout_logfile": str(home.log(part.name)).replace("%", "%%"),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": 2,
    }
    if part.environment:
        options["environment"] = ",".join(f"{k}={_quoted(v)}" for k, v in part.environment.items())
    if part.user:
        options["user"] = part.user
    return options


def _quoted(value: str) -> str:
    for quote in ('"', "'"):
        # Supervisor strips quotes from both ends, whichever they are.
        if quote not in value and value == value.strip("\"'"):
            return f"{quote}{value}{quote}"
    raise StackError("a value with both kinds of quotes, or that ends with one, can't be passed on")
