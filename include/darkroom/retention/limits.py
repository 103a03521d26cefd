"""The table `[housekeeping]` of `darkroom.toml`: when it is cleaned, how old each thing may get."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

LEAST_IMAGES_DAYS = 14
"""Twice as long as a picture that is used again counts as fresh: see `artifacts.FRESH_S`."""


def _five_fields(cron: str) -> str:
    if cron and len(cron.split()) != 5:  # noqa: PLR2004 - minute, hour, day, month, weekday
        raise ValueError("give five fields, such as 30 3 * * *, or nothing")
    return cron


Days = Annotated[int, Field(ge=1)]


class Housekeeping(BaseModel):
    """How long what is kept; what a user made is kept for ever, unless a limit says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    cron: Annotated[str, AfterValidator(_five_fields)] = "30 3 * * *"
    """When, in UTC; empty: only by hand."""
    metadata_days: Days | None = 30
    """Airflow's own records: runs, task instances, XComs, the audit log. Not those since the oldest run that
    has not ended, nor what is written into them by hand: connections, variables, pools."""
    progress_days: Days | None = 30
    """Live numbers in Redis of batches that nobody works on, and rates of hosts that are silent."""
    logs_days: Days | None = 30
    """Log files of tasks and of the DAG processor, and rotated logs of the plant's processes, on its
    machine."""
    batches_days: Days | None = None
    """Batches, by their newest file: request, plan, parts, manifests. None: they are kept."""
    images_days: Annotated[int, Field(ge=LEAST_IMAGES_DAYS)] | None = None
    """Pictures that no batch refers to any more, and verdicts. None: they are kept."""
