"""`darkroom`: one command for the plant and its batches.

Exit codes: 0 done, 1 the work failed, 2 asked for something that can't be done, 3 the plant does not answer,
130 interrupted.
"""

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from darkroom.commands.forgiving import do_without_mistakes
from darkroom.errors import BadRequest, DarkroomError, PlantAway

FAILED, BAD_USAGE, AWAY = 1, 2, 3

COMMANDS = {
    "demo": "demo:demo",
    "up": "stack:up",
    "down": "stack:down",
    "status": "stack:status",
    "logs": "stack:logs",
    "env": "stack:env",
    "worker": "worker:worker",
    "top": "top:top",
    "fleet": "fleet:fleet",
    "fence": "fleet:fence",
    "unfence": "fleet:unfence",
    "plan": "plan:plan",
    "submit": "batches:submit",
    "watch": "batches:watch_batch",
    "show": "showing:show",
    "result": "results:result",
    "batches": "listing:batches",
    "item": "items:item",
    "pause": "steering:pause",
    "resume": "steering:resume",
    "cancel": "steering:cancel",
    "retry": "steering:retry",
    "backfill": "backfills:backfill",
    "verify": "batches:verify",
    "clean": "clean:clean",
    "stage": "stages:app",
}
"""Each command's function below `darkroom.commands`, or its group of commands."""
FORGIVING = ("down", "status", "logs")
"""What one needs to find a mistake in darkroom.toml, and to get rid of a plant that has one."""


class _Commands(TyperGroup):
    """Imports a command's module only when it is called: `status` shall not wait for pyarrow."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in FORGIVING:
            do_without_mistakes()
        module, _, function = COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(f"darkroom.commands.{module}"), function)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        one = typer.Typer(add_completion=False)
        one.command(cmd_name)(found)
        return typer.main.get_command(one)


app = typer.Typer(cls=_Commands, add_completion=False, pretty_exceptions_enable=False)


@app.callback(no_args_is_help=True)
def darkroom() -> None:
    """Run image models over a fleet of machines, on Apache Airflow.

    For example:

      darkroom demo                                            the whole plant and three small batches

      darkroom up; darkroom status; darkroom logs scheduler -f

      darkroom submit examples/prompts.jsonl --flow A_C --wait

      darkroom batches; darkroom show BATCH; darkroom item BATCH CUSTOM_ID; darkroom retry BATCH

      darkroom stage new sepia; darkroom stage check sepia     a model of your own
    """


def main(arguments: list[str] | None = None) -> int:
    """Run one command; every error that was meant is one message and an exit code."""
    try:
        app(arguments)  # exits by itself: 0, 2 for a wrong command line, 130 for Ctrl-C
    except BadRequest as error:
        return _tell(error, BAD_USAGE)
    except PlantAway as error:
        return _tell(error, AWAY)
    except DarkroomError as error:
        return _tell(error, FAILED)
    return 0


def _tell(error: DarkroomError, code: int) -> int:
    print(f"darkroom: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
