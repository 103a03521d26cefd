"""The table `[daily]` of `darkroom.toml`: which day a run is for, when it starts, where its partition lies.

A day is a calendar day of the time zone, so it has 23 or 25 hours when the clock changes. Its run starts on
the day after, at `at`.
"""

from datetime import UTC, date, datetime, time, timedelta
from string import Formatter
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from darkroom.errors import BadRequest

_ONE_DAY = timedelta(days=1)
_PARTS = {"year", "month", "day_of_month"}


def filled(pattern: str, day: date) -> str:
    """A pattern for a day: `{day}` is its date as 2026-11-20, the other fields are the parts of it."""
    year, month, day_of_month = day.isoformat().split("-")
    return pattern.format(day=day.isoformat(), year=year, month=month, day_of_month=day_of_month)


def batch_id_of(day: date, redo: int = 0) -> str:
    """The batch of a day; with a number, one that does all of it again."""
    return f"daily-{day.isoformat()}" + (f"-redo{redo}" if redo else "")


def _a_place_a_day(pattern: str) -> str:
    fields = {name for _, name, _, _ in Formatter().parse(pattern) if name is not None}
    if unknown := fields - {"day", *_PARTS}:
        raise ValueError(f"no field {{{min(unknown)}}}; use {{day}}, {{year}}, {{month}}, {{day_of_month}}")
    if "day" not in fields and not fields >= _PARTS:
        raise ValueError("it is the same for several days; put {day} into it")
    filled(pattern, date.min)
    return pattern


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ValueError(f"there is no time zone {name!r}; for example Europe/Berlin") from error
    return name


def _whole_minute(at: time) -> time:
    if at.second or at.microsecond or at.tzinfo:
        raise ValueError("give hours and minutes in time_zone, such as 02:30")
    return at


Pattern = Annotated[str, Field(max_length=2048), AfterValidator(_a_place_a_day)]


class Daily(BaseModel):
    """What `daily_flow` runs every day, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Pattern
    """The partition of a day, such as `s3://bucket/{day}/` or `inputs/daily/{day}.jsonl`."""
    flow: str
    """What its items go through."""
    options: dict[str, dict[str, Any]] = {}
    """Per stage, as in the form of `image_flow`."""
    respins: Annotated[int, Field(ge=0, le=5)] = 1
    """As in the form of `image_flow`."""
    max_failed_ratio: Annotated[float, Field(ge=0, le=1)] = 0.05
    """As in the form of `image_flow`."""
    then: str | None = None
    """By which route what came of a day goes on, as in the form."""
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    """Whose days."""
    # JSON Schema's own `time` has an offset, which is what a time of a zone's clock has not.
    at: Annotated[
        time, AfterValidator(_whole_minute), WithJsonSchema({"type": "string", "examples": ["02:30:00"]})
    ] = time(0)
    """When, on the day after, a day's run starts."""
    first_day: date | None = None
    """Every day since then gets its run, also one that the plant slept through; without it, only the last
    day that ended does."""
    marker: Pattern | None = None
    """A file that says that the partition is complete, such as `s3://bucket/{day}/_SUCCESS`; without it, the
    source itself does by being there."""
    wait_h: Annotated[float, Field(ge=0, le=24 * 31)] = 12
    """So long after its run was due a day's partition is waited for, in hours."""
    missing: Literal["fail", "skip"] = "fail"
    """What becomes of the run of a day without a partition then."""
    days_at_once: Annotated[int, Field(ge=1, le=64)] = 3
    """So many days run side by side, those of a backfill and those of the schedule each."""

    @property
    def cron(self) -> str:
        """When runs start, in the time zone."""
        return f"{self.at.minute} {self.at.hour} * * *"

    def start(self, day: date) -> datetime:
        """Where the interval of a day begins: at `at`, in UTC.

        Where the clock change leaves a time out, or has it twice, it is the later one: as Airflow does it.
        """
        wall = datetime.combine(day, self.at, ZoneInfo(self.time_zone))
        return max(wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))

    def due(self, day: date) -> datetime:
        """When the run of a day starts."""
        return self.start(day + _ONE_DAY)

    def waits_until(self, day: date) -> datetime:
        """How long the partition of a day is waited for: of an old day, no more."""
        return self.due(day) + timedelta(hours=self.wait_h)

    def day_of(self, moment: datetime) -> date:
        """The calendar day that a moment lies in; of an interval's start, the day that its run is for."""
        return moment.astimezone(ZoneInfo(self.time_zone)).date()

    def last_due(self, now: datetime) -> date:
        """The last day whose run was due by `now`."""
        day = self.day_of(now) - _ONE_DAY
        return day if self.due(day) <= now else day - _ONE_DAY


def given(daily: Daily | None) -> Daily:
    """The table, where there is one.

    Raises:
        BadRequest: there is none.
    """
    if daily is None:
        raise BadRequest(
            "no table [daily] in darkroom.toml says what to run each day; see docs/how-to/schedule.md"
        )
    return daily
