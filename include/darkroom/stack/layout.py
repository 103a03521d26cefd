"""One embedded stack as data: its folder, its secrets, its ports, and the addresses these make."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from darkroom.stack.credentials import Credentials
from darkroom.stack.home import Home
from darkroom.stack.ports import LOOPBACK, usual_ports

BROKER, RESULTS, PROGRESS = 0, 1, 2
"""Valkey's databases: Celery's queues, Celery's results, live progress."""


@dataclass(frozen=True)
class Stack:
    """Where the parts of a stack find each other."""

    home: Home
    credentials: Credentials
    ports: Mapping[str, int]

    @classmethod
    def load(cls, home: Home | None = None) -> "Stack":
        """The stack of this process's settings, with the ports of its last start."""
        home = home or Home.current()
        home.create()
        ports = usual_ports() | home.read_state().get("ports", {})
        return cls(home, Credentials.load_or_create(home.secrets_file), ports)

    @cached_property
    def api_url(self) -> str:
        """Address of Airflow's UI and API."""
        return f"http://{LOOPBACK}:{self.ports['api']}"

    @cached_property
    def postgres_url(self) -> str:
        """The metadata database."""
        secret = self.credentials.postgres_password
        return f"postgresql+psycopg2://airflow:{secret}@{LOOPBACK}:{self.ports['postgres']}/airflow"

    def redis_url(self, database: int) -> str:
        """One of Valkey's databases."""
        return f"redis://:{self.credentials.valkey_password}@{LOOPBACK}:{self.ports['valkey']}/{database}"
