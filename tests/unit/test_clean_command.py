"""What `darkroom clean` asks of the plant, and shows; the whole way is tests/stack/test_housekeeping.py."""

import json
from types import SimpleNamespace

import pytest

from darkroom import cli
from darkroom.commands import clean
from darkroom.retention.tally import Tally


class Api:
    """A plant whose run of `housekeeping` has ended."""

    url = "http://127.0.0.1:8080"

    def __init__(self, **tallies):
        self.tallies = tallies
        self.states = {}

    def trigger(self, dag_id, run_id, conf):
        assert dag_id == "housekeeping"
        self.conf = conf
        return run_id

    def wait(self, dag_id, run_id, timeout_s):
        return "success"

    def task_instances(self, dag_id, run_id):
        states = dict.fromkeys(self.tallies, "success") | self.states
        return [{"task_id": task, "state": state} for task, state in states.items()]

    def call(self, method, path):
        return {"value": self.tallies[path.split("/")[-3]].as_json()}


@pytest.fixture
def api(monkeypatch):
    old = Tally("rows", dry_run=True)
    old.add(0, 0.0, count=1234)
    old.notes.append("dag_run: 34")
    logs = Tally("log files", dry_run=True)
    logs.add(5_000_000, 86_400.0)
    api = Api(clean_metadata=old, clean_logs=logs)
    monkeypatch.setattr(clean, "plant", lambda: SimpleNamespace(api=api))
    return api


def darkroom(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return ended.value.code


def test_it_only_looks_unless_told_otherwise_and_shows_a_line_for_each_kind(api, capsys):
    api.states["clean_batches"] = "skipped"
    assert darkroom("clean") == 0
    assert api.conf == {"dry_run": True}
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert lines["metadata"] == ["1,234", "rows", "1970-01-01"]
    assert lines["logs"] == ["1", "log", "files", "5.0", "1970-01-02"]
    assert lines["batches"] == ["kept:", "no", "limit"]
    assert "dag_run: 34" in shown and "Nothing was removed" in shown


def test_yes_and_limits_are_handed_on_and_the_rest_is_the_plants(api, capsys):
    assert darkroom("clean", "--yes", "--batches-days", "90", "--json") == 0
    assert api.conf == {"dry_run": False, "batches_days": 90}
    told = json.loads(capsys.readouterr().out)
    assert told["found"]["clean_metadata"]["count"] == 1234
    assert told["dry_run"] is False


def test_what_failed_is_named_and_the_rest_is_shown(api, capsys):
    api.states["clean_images"] = "failed"
    assert cli.main(["clean"]) == 1
    told = capsys.readouterr()
    assert "1,234 rows" in told.out
    assert "clean_images failed; see http://127.0.0.1:8080/dags/housekeeping/runs/clean-" in told.err


def test_pictures_can_not_be_told_to_go_before_two_weeks(api):
    assert darkroom("clean", "--images-days", "13") == 2
