"""Fields of log lines: which batch, chunk, stage, host, item a line is of.

Airflow's loggers, and Python's own in its processes, add to each line what stands in structlog's context.
Only where lines are read by machines: a person reads them in the log of a task, which is of one chunk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from darkroom.settings import settings


def annotate(**fields: Any) -> None:
    """Add fields to all lines from now on, in this thread and what is run with a copy of its context."""
    if settings().log_format == "json":
        from structlog.contextvars import bind_contextvars  # noqa: PLC0415  (not in a model server's environment)

        bind_contextvars(**fields)


@contextmanager
def annotated(**fields: Any) -> Iterator[None]:
    """Add fields to the lines of a block."""
    if settings().log_format != "json":
        yield
        return
    from structlog.contextvars import bound_contextvars  # noqa: PLC0415

    with bound_contextvars(**fields):
        yield
