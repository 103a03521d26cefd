"""Airflow's database schema: migrated when the version of Airflow asks for it."""

import subprocess
import sys
from importlib.metadata import version

from darkroom.errors import StackError
from darkroom.stack import environment
from darkroom.stack.layout import Stack
from darkroom.stack.postgres import Postgres

_TIMEOUT_S = 300


def migrate(stack: Stack, postgres: Postgres) -> bool:
    """Bring the schema to the installed version; nothing to do when the stamp says that it is.

    Returns:
        True.

    Raises:
        StackError: the migration failed or took too long; with the last lines of its log.
    """
    wanted = version("apache-airflow")
    if postgres.has_schema(wanted):
        return True
    log = stack.home.log("migrate")
    env = environment.base(stack.home) | environment.airflow(stack) | {environment.MARK: str(stack.home.path)}
    with log.open("w") as output:
        try:
            # A session of its own: Ctrl-C is for `up`, which then ends everything in order.
            done = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"], stdout=output, stderr=subprocess.STDOUT,
                env=env, cwd="/", timeout=_TIMEOUT_S, check=False, start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise StackError(f"the schema was not migrated within {_TIMEOUT_S} s; see {log}") from error
    if done.returncode != 0:
        raise StackError(f"migrating the schema failed; the end of {log}:\n{tail(log.read_text())}")
    postgres.schema_stamp.write_text(wanted)
    return True


def tail(text: str, lines: int = 15) -> str:
    """The last lines of a log."""
    return "\n".join(text.splitlines()[-lines:])
