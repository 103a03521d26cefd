"""What `darkroom backfill` makes of the answers of Airflow; its real ones are tried on the stack."""

import json
from datetime import date, datetime

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from tests.loopback import served
from tests.unit.commandline import command

from darkroom.commands import elsewhere
from darkroom.days import Daily
from darkroom.rest.api import AirflowApi
from darkroom.rest.backfill import Backfill
from darkroom.settings import settings

DAILY = Daily(source="x/{day}", flow="A", time_zone="Europe/Berlin", at="02:30", days_at_once=4)


class Airflow:
    """Days, and the runs that a backfill of them has."""

    def __init__(self):
        self.days, self.runs, self.asked, self.busy, self.looks = [], [], [], False, 0
        self.app = FastAPI()
        self.app.post("/auth/token")(lambda: {"access_token": "t"})
        self.app.get("/darkroom/api/daily")(lambda: DAILY)
        self.app.post("/api/v2/backfills/dry_run")(self.dry_run)
        self.app.post("/api/v2/backfills")(self.create)
        self.app.get("/api/v2/backfills/{number}")(self.backfill)
        self.app.get("/api/v2/dags/daily_flow/dagRuns")(self.list)

    def dry_run(self, body: dict):
        return {"backfills": [{"logical_date": day} for day in self.days]}

    def create(self, body: dict):
        self.asked.append(body)
        if self.busy:
            return JSONResponse({"detail": "There is already a running backfill for dag daily_flow"}, 409)
        return {"id": 7}

    def backfill(self, number: int):
        self.looks += 1  # Airflow sees that it has ended a while after its last run has
        return {"id": number, "completed_at": "2026-11-21T19:00:00Z" if self.looks > 1 else None}

    def list(self, offset: int, limit: int):
        page = self.runs[offset : offset + 2]  # as if two were all that fit
        return {"dag_runs": page, "total_entries": len(self.runs)}


@pytest.fixture
def airflow(monkeypatch):
    airflow = Airflow()
    with served(airflow.app) as url:
        monkeypatch.delenv("DARKROOM_REDIS_URL", raising=False)
        monkeypatch.setenv("DARKROOM_API_URL", url)
        monkeypatch.setenv("DARKROOM_API_TOKEN", "t")
        settings.cache_clear()
        elsewhere.session.cache_clear()
        yield airflow
    settings.cache_clear()
    elsewhere.session.cache_clear()


def run_of(moment, state):
    return {"logical_date": moment, "state": state}


def test_days_are_those_of_the_plants_time_zone_also_when_the_clock_changes(airflow, capsys):
    airflow.days = [
        "2026-03-27T01:30:00Z",
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:30:00Z",
        "2026-03-30T00:30:00Z",
    ]
    assert command("backfill", "2026-03-27", "2026-03-30", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "backfill_id": 7,
        "days": dict.fromkeys([f"2026-03-{day}" for day in (27, 28, 29, 30)], "none"),
    }
    (asked,) = airflow.asked
    bounds = [datetime.fromisoformat(asked[name]).isoformat() for name in ("from_date", "to_date")]
    assert bounds == ["2026-03-27T01:30:00+00:00", "2026-03-30T00:30:00+00:00"]
    assert (asked["max_active_runs"], asked["reprocess_behavior"], asked["dag_run_conf"]) == (4, "none", {})


def test_a_dry_run_and_nothing_to_do_start_nothing(airflow, capsys):
    airflow.days = ["2026-01-01T01:30:00Z"]
    assert command("backfill", "2026-01-01", "2026-01-02", "--dry-run") == 0
    assert capsys.readouterr().out == "2026-01-01\n"
    airflow.days = []
    assert command("backfill", "2026-01-01", "2026-01-02", "--wait") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert airflow.asked == []


def test_it_waits_for_all_days_and_says_by_its_exit_code_whether_any_failed(airflow, capsys):
    airflow.days = [f"2026-01-0{day}T01:30:00Z" for day in range(1, 6)]
    airflow.runs = [run_of(day, "success") for day in airflow.days[:4]]
    airflow.runs += [run_of("2026-02-01T01:30:00Z", "running"), run_of(airflow.days[4], "failed")]
    assert command("backfill", "2026-01-01", "2026-01-05", "--wait", "--redo", "2", "--json") == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["days"]["2026-01-05"] == "failed"
    assert "1 of 5 days failed: 2026-01-05" in said.err
    assert "1 failed, 4 success" in said.err
    assert airflow.asked[0]["dag_run_conf"] == {"redo": 2}


@pytest.mark.parametrize(("arguments", "told"), [
    (["2026-01-02", "2026-01-01"], "is before"),
    (["2026-01-01", "2026-01-02", "--reprocess", "all"], "choose one of"),
    (["yesterday", "2026-01-02"], "yesterday"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(airflow, capsys, arguments, told):
    assert command("backfill", *arguments) == 2
    assert told in capsys.readouterr().err


def test_a_second_backfill_is_refused_by_airflow_and_the_reason_is_told(airflow, capsys):
    airflow.days, airflow.busy = ["2026-01-01T01:30:00Z"], True
    assert command("backfill", "2026-01-01", "2026-01-01") == 2
    assert "already a running backfill" in capsys.readouterr().err


def test_a_day_that_no_run_of_the_backfill_has_yet_is_none(airflow):
    asked = Backfill(elsewhere.session(), DAILY, date(2026, 1, 1), date(2026, 1, 1))
    assert isinstance(asked.api, AirflowApi)
    assert asked.states([date(2026, 1, 1)]) == {date(2026, 1, 1): "none"}
