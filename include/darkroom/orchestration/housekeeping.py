"""The tasks of `housekeeping`: each cleans one kind of thing by its own limit, and says what it did."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Param
from airflow.sdk.exceptions import AirflowSkipException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from darkroom.errors import BadRequest, PlantAway
from darkroom.retention.limits import LEAST_IMAGES_DAYS, Housekeeping
from darkroom.retention.tally import DAY_S, Tally
from darkroom.settings import settings

_PROGRAM = "darkroom.orchestration.metadata"
_TAIL = 2000
"""Of what it says when it fails, so many characters."""


def schedule() -> str | None:
    """When it runs by itself; None: never."""
    return settings().housekeeping.cron or None


def housekeeping_params() -> dict[str, Param]:
    """What a run by hand may say: only look, or other limits than those of the settings."""
    limits = {
        name: Param(
            None,
            type=["null", "integer"],
            minimum=LEAST_IMAGES_DAYS if name == "images_days" else 1,
            title=name,
            description=f"{' '.join((field.description or '').split())} Empty: as the settings say.",
        )
        for name, field in _limits().items()
    }
    look = Param(
        False, type="boolean", title="Only look", description="Remove nothing; say what would be removed."
    )
    return {"dry_run": look, **limits}


def _limits() -> dict[str, Any]:
    return {name: field for name, field in Housekeeping.model_fields.items() if name != "cron"}


class AskMetadata(BaseTrigger):
    """Runs `darkroom.orchestration.metadata` beside the triggerer and fires with what it printed."""

    def __init__(self, arguments: list[str]) -> None:
        super().__init__()
        self.arguments = arguments

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How the triggerer makes it again."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"arguments": self.arguments}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Start it and wait; who cancels the wait ends it, too."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", _PROGRAM, *self.arguments, stdout=pipe, stderr=pipe, env=_environment()
        )
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            said = err.decode(errors="replace").replace(_database(), "the database")
            yield TriggerEvent({"failed": said[-_TAIL:]})
        else:
            yield TriggerEvent({"answer": json.loads(out.splitlines()[-1])})


def _environment() -> dict[str, str]:
    """That of the triggerer, with the database that Airflow takes from the process that runs triggers."""
    blocked = ("AIRFLOW__CORE__SQL_ALCHEMY_CONN", "DARKROOM_METADATA_URL")
    inherited = {name: value for name, value in os.environ.items() if name not in blocked}
    return inherited | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": _database()}


def _database() -> str:
    """Its address, with the password.

    Raises:
        BadRequest: the triggerer was started without.
    """
    if url := settings().metadata_url.get_secret_value():
        return url
    raise BadRequest("the triggerer has no DARKROOM_METADATA_URL: give it the address of Airflow's database")


class Clean(BaseOperator):
    """One kind of thing: its limit, and whether only to look. Skipped where it has no limit."""

    limit_name = ""
    things = ""

    def execute(self, context: Any) -> dict[str, Any]:
        """Clean, or ask first."""
        days = self.days(context)
        if days is None:
            raise AirflowSkipException(f"{self.limit_name} is not set: all of it is kept")
        tally = Tally(self.things, bool(context["params"]["dry_run"]))
        self.clean(time.time() - days * DAY_S, days, tally)
        return self.told(tally)

    def days(self, context: Any) -> int | None:
        """The limit of this run; None: there is none."""
        found: int | None = context["params"][self.limit_name]
        return found or getattr(settings().housekeeping, self.limit_name)

    def clean(self, before_s: float, days: int, tally: Tally) -> None:
        """Remove what was last written before then."""
        raise NotImplementedError

    def ask(self, arguments: list[str], **known: Any) -> None:
        """Defer until Airflow's database has been asked; `asked` goes on."""
        self.defer(trigger=AskMetadata(arguments), method_name="asked", kwargs=known)

    def answer(self, event: Any) -> Any:
        """What came of it.

        Raises:
            PlantAway: nothing; the database does not answer, say.
        """
        if "answer" not in event:
            raise PlantAway(f"Airflow's database was not asked: {event.get('failed')}")
        return event["answer"]

    def told(self, tally: Tally) -> dict[str, Any]:
        """What was done: into the log, and for whoever asks."""
        for line in tally.lines():
            self.log.info(line)
        return tally.as_json()


class CleanMetadata(Clean):
    """Airflow's own records."""

    limit_name, things = "metadata_days", "rows"

    def clean(self, before_s: float, days: int, tally: Tally) -> None:
        """Have it done where the database is."""
        self.ask(["clean", "--days", str(days), *(["--dry-run"] if tally.dry_run else [])])

    def asked(self, context: Any, event: Any) -> dict[str, Any]:
        """It is done."""
        told = self.answer(event)
        told.pop("oldest")
        return self.told(Tally(**told))


class CleanProgress(Clean):
    """Live numbers of batches that nobody works on."""

    limit_name, things = "progress_days", "keys in Redis"

    def clean(self, before_s: float, days: int, tally: Tally) -> None:
        """Ask which batches are worked on."""
        self.ask(["live"], before_s=before_s, dry_run=tally.dry_run)

    def asked(self, context: Any, event: Any, before_s: float, dry_run: bool) -> dict[str, Any]:
        """Forget the others."""
        from darkroom.retention import live_keys

        tally = Tally(self.things, dry_run)
        live_keys.clean(
            settings().redis_url.get_secret_value(), frozenset(self.answer(event)), before_s, tally
        )
        return self.told(tally)


class CleanLogs(Clean):
    """Log files on this machine."""

    limit_name, things = "logs_days", "log files"

    def clean(self, before_s: float, days: int, tally: Tally) -> None:
        """Remove them."""
        from airflow.configuration import conf

        from darkroom.retention import logs

        logs.clean(Path(conf.get("logging", "base_log_folder")), settings().home, before_s, tally)


class CleanBatches(Clean):
    """Batches that nobody has touched for long."""

    limit_name, things = "batches_days", "batches"

    def execute(self, context: Any) -> dict[str, Any]:
        """As of the others; and what a crash has left half-removed goes, whatever the limit says now."""
        from darkroom.orchestration.tasks import store_patience
        from darkroom.retention import old_batches
        from darkroom.store.storage import open_store

        with store_patience():
            left = old_batches.marked(open_store(settings().store_url))
        if left and self.days(context) is None and not context["params"]["dry_run"]:
            self.clean(0.0, 0, Tally(self.things, dry_run=False))
        return super().execute(context)

    def clean(self, before_s: float, days: int, tally: Tally) -> None:
        """Mark them, then ask which are worked on: in this order, as `retention/old_batches.py` says."""
        from darkroom.orchestration.tasks import store_patience
        from darkroom.retention import old_batches
        from darkroom.store.storage import open_store

        store = open_store(settings().store_url)
        with store_patience():
            if not tally.dry_run:
                for old in old_batches.find(store, before_s):
                    old_batches.mark(old.batch)
            marked = [batch.batch_id for batch in old_batches.marked(store)]
        self.ask(["live"], before_s=before_s, dry_run=tally.dry_run, marked=marked)

    def asked(
        self, context: Any, event: Any, before_s: float, dry_run: bool, marked: list[str]
    ) -> dict[str, Any]:
        """Remove the others."""
        from darkroom.orchestration.tasks import store_patience
        from darkroom.retention import old_batches
        from darkroom.store.batches import Batch
        from darkroom.store.storage import open_store

        tally, store, live = Tally(self.things, dry_run), open_store(settings().store_url), self.answer(event)
        with store_patience():
            if dry_run:
                for old in old_batches.find(store, before_s):
                    if old.batch.batch_id not in live:
                        tally.add(old.size_bytes, old.written_s)
            else:
                old_batches.remove_marked([Batch(store, name) for name in marked], frozenset(live), tally)
        return self.told(tally)


class CleanImages(Clean):
    """Pictures that no batch refers to."""

    limit_name, things = "images_days", "pictures and verdicts"

    def clean(self, before_s: float, days: int, tally: Tally) -> None:
        """Mark what is referred to, sweep the rest."""
        from darkroom.orchestration.tasks import store_patience
        from darkroom.retention import images
        from darkroom.store.storage import open_store

        with store_patience():
            images.sweep(open_store(settings().store_url), before_s, tally)
