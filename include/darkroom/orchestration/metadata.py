"""Airflow's own database, cleaned by Airflow's own `db clean`: `python -m darkroom.orchestration.metadata`.

Airflow keeps the database from tasks and triggers, and workers have no password for it. So this is a process
of its own, which lasts for seconds; the trigger `AskMetadata` starts it in the triggerer, whose machine has
the database. Its last line is JSON.
"""

import contextlib
import io
import json
import re
import sys
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from darkroom.records import batch_id_for
from darkroom.rest.api import CHILD_DAG_ID, DAG_ID, PAGES_DAG_ID
from darkroom.retention.tally import Tally

_KEPT = {"dag", "trigger"}
"""Tables that are left alone: a DAG that was not parsed for a while is none of ours to forget, and triggers
may outlive any run; the triggerer removes those that nobody needs."""
_UNFINISHED = ["queued", "running"]
_ROWS_AT_ONCE = 10_000
_MARGIN = timedelta(minutes=1)
"""Of one moment that is kept in several columns."""
_FOUND = re.compile(r"Checking table (\w+)\nFound (\d+) rows")
"""How `db clean` tells what it does."""


def live_batches() -> list[str]:
    """The batches with a run that has not ended."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        runs = session.execute(
            select(DagRun.run_id, DagRun.conf).where(
                DagRun.dag_id.in_([DAG_ID, CHILD_DAG_ID, PAGES_DAG_ID]), DagRun.state.in_(_UNFINISHED)
            )
        )
        return sorted({batch_id_for((conf or {}).get("batch_id"), run_id) for run_id, conf in runs})


def clean(days: int, dry_run: bool) -> Tally:
    """Remove rows older than `days`, and none since the oldest run or backfill that has not ended.

    `db clean` knows nothing of states: it would remove a run that is older than the limit while it runs, and
    what a younger one still reads of an older task. What belongs to a run is younger than the run.
    """
    from airflow.utils.db_cleanup import config_dict, run_cleanup

    before, tally = datetime.now(UTC) - timedelta(days=days), Tally("rows", dry_run)
    since, what = _oldest_unfinished()
    if since is not None and since < before:
        tally.notes.append(f"rows since {since:%Y-%m-%d %H:%M} UTC are kept: {what} has not ended")
        before = since - _MARGIN
    oldest = _oldest_run(before)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        run_cleanup(
            clean_before_timestamp=before, table_names=sorted(config_dict.keys() - _KEPT), dry_run=dry_run,
            confirm=False, skip_archive=True, batch_size=_ROWS_AT_ONCE, error_on_cleanup_failure=True,
        )  # fmt: skip
    rows = {table: int(count) for table, count in _FOUND.findall(said.getvalue()) if int(count)}
    tally.add(0, oldest.timestamp() if oldest else None, sum(rows.values()))
    tally.notes += [f"{table}: {count:,}" for table, count in rows.items()]
    return tally


def _oldest_unfinished() -> tuple[datetime | None, str]:
    """Since when there is a run, or a backfill, that has not ended; and which."""
    from airflow.models import DagRun
    from airflow.models.backfill import Backfill
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    since = func.coalesce(DagRun.created_at, DagRun.start_date, DagRun.run_after)
    runs = select(since, DagRun.dag_id, DagRun.run_id).where(DagRun.state.in_(_UNFINISHED))
    backfills = select(Backfill.created_at, Backfill.id).where(Backfill.completed_at.is_(None))
    with create_session() as session:
        run = session.execute(runs.order_by(since).limit(1)).first()
        backfill = session.execute(backfills.order_by(Backfill.created_at).limit(1)).first()
    found: list[tuple[datetime, str]] = []
    if run:
        found.append((run[0], f"run {run[2]} of {run[1]}"))
    if backfill:
        found.append((backfill[0], f"backfill {backfill[1]}"))
    return min(found, default=(None, ""))


def _oldest_run(before: datetime) -> datetime | None:
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with create_session() as session:
        found: datetime | None = session.scalar(
            select(func.min(DagRun.start_date)).where(DagRun.start_date < before)
        )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Do it and print what came of it."""
    parser = ArgumentParser(prog="darkroom.orchestration.metadata")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("live")
    cleaning = verbs.add_parser("clean")
    cleaning.add_argument("--days", type=int, required=True)
    cleaning.add_argument("--dry-run", action="store_true")
    asked = parser.parse_args(arguments)
    value: Any = live_batches() if asked.verb == "live" else clean(asked.days, asked.dry_run).as_json()
    print(json.dumps(value))
    return 0


if __name__ == "__main__":
    sys.exit(main())
