"""The state folder of one embedded stack: where everything lies, who may read it, who may change it."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.errors import StackError
from darkroom.settings import settings

_OURS = {
    "airflow", "drain", "lock", "logs", "postgres", "run", "secrets.json", "state.json", "store", "valkey",
    "warm-up", "workers",
}  # fmt: skip
_LONGEST_SOCKET_PATH = 90
"""Unix sockets allow 107 bytes, and supervisor appends a pid to the path while it binds."""


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below `DARKROOM_HOME`."""

    path: Path

    @classmethod
    def current(cls) -> "Home":
        """The folder that this process's settings name."""
        return cls(settings().home.expanduser().absolute())

    @property
    def airflow(self) -> Path:
        """`AIRFLOW_HOME`: task logs, the user's password file."""
        return self.path / "airflow"

    @property
    def logs(self) -> Path:
        """One log per part."""
        return self.path / "logs"

    @property
    def valkey(self) -> Path:
        """Valkey's configuration and append-only file."""
        return self.path / "valkey"

    @property
    def secrets_file(self) -> Path:
        """The generated secrets, readable by the owner only."""
        return self.path / "secrets.json"

    @property
    def metrics_token(self) -> Path:
        """What a Prometheus on this machine shows at `/darkroom/metrics`: its `credentials_file`."""
        return self.path / "run" / "metrics-token"

    @property
    def warm_up(self) -> Path:
        """The sources of the warm-up batches."""
        return self.path / "warm-up"

    @property
    def supervisor_conf(self) -> Path:
        """Generated, with the secrets in it; readable by the owner only."""
        return self.path / "run" / "supervisor.conf"

    @property
    def supervisor_pid(self) -> Path:
        """Written by supervisord."""
        return self.path / "run" / "supervisord.pid"

    def foreign(self) -> list[str]:
        """What lies in the folder and can't be ours; such a folder is never taken over, nor removed."""
        try:
            names = {path.name for path in self.path.iterdir()}
        except FileNotFoundError:
            return []
        return sorted(name for name in names - _OURS if not name.startswith("."))

    def create(self) -> None:
        """Make the folders. All but the top are private; PostgreSQL's user must pass through the top.

        Raises:
            StackError: the folder is somebody else's.
        """
        if foreign := self.foreign():
            raise StackError(
                f"{self.path} holds what is not ours ({foreign[0]}): DARKROOM_HOME needs a folder of its own"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o711)
        for folder in (self.airflow, self.logs, self.valkey, self.path / "run"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)

    def log(self, name: str) -> Path:
        """The log of one part."""
        return self.logs / f"{name}.log"

    def socket(self) -> Path:
        """Supervisor's socket."""
        return self._socket("supervisor.sock")

    def door(self, server: str) -> Path:
        """The socket at which a model server takes what somebody waits for; its stem is the server's name."""
        return self._socket(f"{server}.sock")

    def _socket(self, name: str) -> Path:
        """Below `run/`, or in a private folder where that path is too long."""
        usual = self.path / "run" / name
        if len(os.fsencode(usual)) <= _LONGEST_SOCKET_PATH:
            return usual
        kept = self.read_state().get("socket_folder")
        if not kept or not _is_private(Path(kept)):
            kept = tempfile.mkdtemp(prefix="darkroom-")
        folder = Path(kept)
        self.update_state(socket_folder=str(folder))
        return folder / name

    def read_state(self) -> dict[str, Any]:
        """What earlier starts chose and must be kept: ports, folders. Empty when it can't be read."""
        try:
            state = json.loads((self.path / "state.json").read_text())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def update_state(self, **changes: Any) -> None:
        """Change some keys of the state, atomically."""
        write_private(self.path / "state.json", json.dumps(self.read_state() | changes, indent=1))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other `up` and `down` on this folder out; the lock ends with the process.

        Raises:
            StackError: another one is at work.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with locked_file(self.path / "lock", f"another `darkroom up` or `down` is at work on {self.path}"):
            yield

    @property
    def drain_marker(self) -> Path:
        """See `Settings.drain_marker`."""
        return self.path / "drain"

    def workers(self) -> list["Home"]:
        """The state folders of workers on this machine, running or not."""
        return [Home(path) for path in sorted((self.path / "workers").glob("[!.]*"))]

    def forget_servers(self) -> None:
        """Remove what the servers of an earlier start said of themselves."""
        run = self.path / "run"
        for stale in (*run.glob("*.pid"), *run.glob("servers/*.json"), *run.glob("prometheus/*.json")):
            stale.unlink()


@contextmanager
def locked_file(path: Path, taken: str) -> Iterator[None]:
    """Hold a lock that ends with the process.

    Raises:
        StackError: another process holds it; `taken` with its pid.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StackError(f"{taken} (pid {file.read().strip()})") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # created with mode 0600
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(name).replace(path)


def _is_private(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return folder.is_dir() and found.st_uid == os.geteuid() and found.st_mode & 0o077 == 0
