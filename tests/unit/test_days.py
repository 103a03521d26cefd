import json
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from darkroom.days import Daily, batch_id_of, filled
from darkroom.errors import BadRequest
from darkroom.settings import settings

BERLIN = "Europe/Berlin"
ZONES = ["UTC", BERLIN, "America/New_York", "America/Santiago", "Asia/Kolkata", "Australia/Lord_Howe"]
days = st.dates(date(2020, 1, 2), date(2037, 12, 30))
times = st.builds(time, st.integers(0, 23), st.integers(0, 59))


def daily(**more):
    return Daily(**{"source": "in/{day}.jsonl", "flow": "A", **more})


def hours(setting, day):
    return (setting.due(day) - setting.start(day)) / timedelta(hours=1)


def test_a_pattern_names_the_partition_of_a_day():
    day = date(2026, 3, 9)
    assert filled("s3://b/{day}/", day) == "s3://b/2026-03-09/"
    assert filled("in/{year}/{month}/{day_of_month}.csv", day) == "in/2026/03/09.csv"


def test_the_batch_is_named_after_the_day_and_redone_under_another_name():
    assert batch_id_of(date(2026, 11, 20)) == "daily-2026-11-20"
    assert batch_id_of(date(2026, 11, 20), 2) == "daily-2026-11-20-redo2"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("source", "in/all.jsonl", "same for several days"),
        ("source", "in/{month}-{day_of_month}.jsonl", "same for several days"),
        ("source", "in/{date}.jsonl", "no field {date}"),
        ("source", "in/{day.__class__}.jsonl", "no field"),
        ("source", "in/{day!x}.jsonl", "Unknown conversion"),
        ("marker", "in/_SUCCESS", "same for several days"),
        ("time_zone", "Mars/Olympus", "no time zone"),
        ("time_zone", "../../etc/passwd", "no time zone"),
        ("at", "02:30:15", "hours and minutes"),
        ("at", "25:00", "time"),
        ("missing", "wait", "skip"),
        ("days_at_once", 0, "greater than or equal to 1"),
        ("wait_h", -1, "greater than or equal to 0"),
        ("sauce", "x", "Extra inputs"),
    ],
)
def test_a_wrong_setting_is_refused_and_says_why(field, value, told):
    with pytest.raises(ValidationError, match=told):
        daily(**{field: value})


def test_the_setting_is_read_from_the_table_and_from_the_environment(tmp_path, monkeypatch):
    config = tmp_path / "darkroom.toml"
    config.write_text('[daily]\nsource = "in/{day}/"\nflow = "A"\nat = 02:30:00\nfirst_day = 2026-11-01\n')
    monkeypatch.setenv("DARKROOM_CONFIG", str(config))
    settings.cache_clear()
    assert settings().daily == daily(source="in/{day}/", at="02:30", first_day=date(2026, 11, 1))
    monkeypatch.setenv("DARKROOM_DAILY", json.dumps({"source": "in/{day}/", "flow": "A", "missing": "never"}))
    settings.cache_clear()
    with pytest.raises(BadRequest, match=r"daily\.missing"):
        settings()
    monkeypatch.undo()
    settings.cache_clear()


def test_a_day_has_the_hours_of_its_calendar_day():
    assert hours(daily(time_zone=BERLIN), date(2026, 3, 28)) == 24
    assert hours(daily(time_zone=BERLIN), date(2026, 3, 29)) == 23
    assert hours(daily(time_zone=BERLIN), date(2026, 10, 25)) == 25


def test_a_time_that_the_clock_change_leaves_out_or_doubles_is_the_later_one():
    at = daily(time_zone=BERLIN, at="02:30")
    assert at.start(date(2026, 3, 29)) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # 03:30 in summer time
    assert at.start(date(2026, 10, 25)) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # the second 02:30


@given(day=days, at=times, zone=st.sampled_from(ZONES))
def test_intervals_follow_each_other_and_each_is_of_the_day_that_it_begins_in(day, at, zone):
    setting = daily(time_zone=zone, at=at)
    assert setting.day_of(setting.start(day)) == day
    assert setting.due(day) == setting.start(day + timedelta(days=1))
    assert 22 <= hours(setting, day) <= 26


@given(day=days, at=times, zone=st.sampled_from(ZONES))
def test_at_the_time_that_a_run_is_due_its_day_has_ended_and_is_the_last_one(day, at, zone):
    setting = daily(time_zone=zone, at=at)
    due = setting.due(day)
    assert due.astimezone(ZoneInfo(zone)).date() > day
    assert setting.last_due(due) == day
    assert setting.last_due(due - timedelta(microseconds=1)) == day - timedelta(days=1)


def test_an_old_day_is_not_waited_for():
    setting = daily(time_zone=BERLIN, at="02:30", wait_h=12)
    assert setting.waits_until(date(2026, 11, 20)) == datetime(2026, 11, 21, 13, 30, tzinfo=UTC)
