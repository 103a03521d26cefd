"""The embedded plant: PostgreSQL, Valkey, Airflow, workers and model servers on one machine."""

from darkroom.stack import environment as _environment
from darkroom.stack.display import Display
from darkroom.stack.home import Home
from darkroom.stack.launch import Report
from darkroom.stack.layout import Stack
from darkroom.stack.lifecycle import bring_up, take_down
from darkroom.stack.report import PartStatus, stack_status
from darkroom.stack.supervisor import Supervisor

__all__ = [
    "PartStatus",
    "Stack",
    "admin_password",
    "api_url",
    "down",
    "environment",
    "is_running",
    "status",
    "up",
]


def up(report: Report | None = None) -> list[str]:
    """Start what does not run and wait until all of it works, showing progress unless told where to.

    Returns:
        Warnings for the user.

    Raises:
        StackError: a part failed; with the end of its log.
    """
    if report is not None:
        return bring_up(Home.current(), report)
    with Display() as display:
        return bring_up(Home.current(), display)


def down(report: Report | None = None) -> bool:
    """Stop everything, also what a crash left behind; whether there was anything."""
    if report is not None:
        return take_down(Home.current(), report)
    with Display() as display:
        return take_down(Home.current(), display)


def status() -> list[PartStatus]:
    """Every part's state, process, memory, and what it waits for."""
    return stack_status(Home.current())


def is_running() -> bool:
    """Whether the process manager of this state folder answers."""
    return Supervisor(Home.current()).is_running()


def api_url() -> str:
    """Address of Airflow's UI and API."""
    return Stack.load().api_url


def admin_password() -> str:
    """Password of the UI's user `admin`."""
    return Stack.load().credentials.admin_password


def environment() -> dict[str, str]:
    """The environment to run Airflow or Darkroom by hand in, beside the stack."""
    stack = Stack.load()
    return _environment.base(stack.home) | _environment.airflow(stack)
