"""What a machine must know to work for a plant: broker, API, store. No database, no signing keys."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from darkroom.errors import BadRequest
from darkroom.settings import Settings, settings
from darkroom.stack.airflow_settings import Profile
from darkroom.stack.home import write_private
from darkroom.stack.layout import BROKER, PROGRESS, RESULTS, Stack
from darkroom.stack.supervisor import Supervisor


@dataclass(frozen=True)
class Join:
    """The way to a plant. Every field but the last has a setting of the same name."""

    broker_url: str = field(repr=False)
    result_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    api_url: str
    store: str
    source_roots: list[str]
    log_folder: str = ""
    """Where the api-server looks for the logs of tasks, if this machine has that folder."""
    profile: Profile = "laptop"
    """Which column of Airflow's settings its workers take."""

    @classmethod
    def of(cls, stack: Stack) -> Self:
        """The way to the stack of this process's settings."""
        here = settings()
        return cls(
            broker_url=stack.redis_url(BROKER), result_url=stack.redis_url(RESULTS),
            redis_url=stack.redis_url(PROGRESS), api_url=stack.api_url, store=here.store_url,
            source_roots=here.input_roots, log_folder=str(stack.home.airflow / "logs"),
        )  # fmt: skip

    @classmethod
    def find(cls) -> Self:
        """The way that the settings name; without one, the way to the plant that runs on this machine.

        Raises:
            BadRequest: the settings name half of it, or there is neither.
        """
        here = settings()
        if here.broker_url.get_secret_value():
            return cls._from(here)
        stack = Stack.load()
        if Supervisor(stack.home).is_running():
            return cls.of(stack)
        raise BadRequest(
            "which plant? None runs on this machine. On the plant's machine, `darkroom env --for-worker "
            "--path worker.env` writes the way to it; here, `darkroom worker --plant worker.env ...` takes it"
        )

    def shared(self) -> dict[str, str]:
        """What every process of a machine that joined finds in its environment."""
        logs = {"AIRFLOW__LOGGING__BASE_LOG_FOLDER": self.log_folder} if self.log_folder else {}
        return {
            "DARKROOM_STORE": self.store,
            "DARKROOM_SOURCE_ROOTS": json.dumps(self.source_roots),
            **logs,
        }

    @classmethod
    def _from(cls, here: Settings) -> Self:
        given = {
            "result_url": here.result_url.get_secret_value(),
            "redis_url": here.redis_url.get_secret_value(),
            "api_url": here.api_url,
            "store": here.store,
        }
        if missing := [name for name, value in given.items() if not value]:
            raise BadRequest(f"DARKROOM_BROKER_URL is set, but not DARKROOM_{missing[0].upper()}")
        broker = here.broker_url.get_secret_value()
        return cls(
            broker_url=broker, source_roots=here.source_roots, log_folder=here.log_folder,
            profile="fleet", **given,
        )  # fmt: skip

    def write(self, path: Path, *, force: bool = False) -> None:
        """Write it as `KEY=value` lines, readable by the owner only.

        Raises:
            BadRequest: the file exists and `force` was not given.
        """
        if path.exists() and not force:
            raise BadRequest(f"{path} exists; --force replaces it")
        values = {
            "broker_url": self.broker_url, "result_url": self.result_url, "redis_url": self.redis_url,
            "api_url": self.api_url, "store": self.store, "source_roots": json.dumps(self.source_roots),
        }  # fmt: skip
        lines = [f"DARKROOM_{name.upper()}={value}\n" for name, value in values.items()]
        write_private(path, "".join(lines))
