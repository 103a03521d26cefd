"""What a person sees of batches: watch, show, batches, item. Over a real Valkey and a real store."""

import json
import os
from pathlib import Path

import pytest
from rich.console import Console
from tests.unit.plant import plan, row, run

from darkroom.commands import items, listing, plants, showing
from darkroom.commands.watching import Watched, watch
from darkroom.errors import BadRequest
from darkroom.live.progress import ChunkNow, PlanNow
from darkroom.live.snapshot import take
from darkroom.plans.planning import decide_params
from darkroom.rest.api import ApiError, Run
from darkroom.results.manifest import collect
from darkroom.settings import settings
from darkroom.store.storage import open_store
from darkroom.views.looking import Lookout, state_of


class Airflow:
    """The states of one run, one a look; without any, Airflow is away."""

    def __init__(self, *states):
        self.states = list(states)

    def run_state(self, dag_id, run_id):
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def newest_run(self, dag_id, batch_id):
        return self.newest_runs(dag_id)[0]

    def newest_runs(self, dag_id):
        if not self.states:
            raise ApiError("Airflow's API does not answer")
        return [Run("b1", self.states[0], {"batch_id": "b1"})]


@pytest.fixture
def live(url, tmp_path, monkeypatch):
    monkeypatch.setenv("DARKROOM_REDIS_URL", url)
    monkeypatch.setenv("DARKROOM_STORE", tmp_path.as_uri())
    monkeypatch.setenv("DARKROOM_API_URL", "http://127.0.0.1:1")
    settings.cache_clear()
    yield Lookout.at(url)
    settings.cache_clear()


@pytest.fixture
def batch(live, tmp_path):
    """Three items, two of them done in the last stage."""
    batch = plan(open_store(tmp_path.as_uri()), [["a", "b"], ["c"]], rejects=1)
    batch.save_params(decide_params("f", "A_C", min_chunk_s=1, max_chunk_s=100))
    live.progress.plan("b1", PlanNow("A_C", 3, 1, 2, 1))
    for stage in ("generate", "inspect"):
        run(batch, {"00000": [row(batch, "a"), row(batch, "b")]}, stage)
        live.progress.report("b1", stage, "00000", ChunkNow(2, 2, 0, 0, f"{stage}-1@box", "ended", busy_s=4))
    return batch


def answers(monkeypatch, *states):
    for module in (plants, listing):
        monkeypatch.setattr(module, "api", lambda: Airflow(*states))


def test_watching_ends_with_the_run_and_says_a_line_now_and_then(live, batch, monkeypatch):
    with Path(os.devnull).open("w") as nowhere:
        console = Console(file=nowhere, record=True, width=200)
        watched = [Watched("b1", "b1", "A_C")]
        answers(monkeypatch, "queued", "running", "success")
        assert watch(watched, plants.plant(), console) == {"b1": "success"}
    said = console.export_text()
    assert "b1: queued; generate 2/3, 2 done; inspect 2/3, 2 done" in said
    assert "b1: success" in said


def test_a_batch_that_was_cancelled_ends_as_such(live, batch, monkeypatch):
    live.control.cancel("b1")
    with Path(os.devnull).open("w") as nowhere:
        answers(monkeypatch, "failed")
        ended = watch([Watched("b1", "b1", "A_C")], plants.plant(), Console(file=nowhere))
    assert ended == {"b1": "cancelled"}


def test_watching_draws_on_a_terminal(live, batch, monkeypatch):
    with Path(os.devnull).open("w") as nowhere:
        console = Console(file=nowhere, force_terminal=True, width=120, height=40, record=True)
        answers(monkeypatch, "success")
        watch([Watched("b1", "b1", "A_C")], plants.plant(), console)
    assert "inspect-1@box" in console.export_text()


@pytest.mark.parametrize(("run", "wish", "said"), [
    ("queued", "", "queued"), ("running", "", "planning"), ("running", "paused", "paused"),
    ("running", "cancelled", "cancelled"), ("failed", "cancelled", "cancelled"),
    ("success", "paused", "success"),
])  # fmt: skip
def test_a_state_is_that_of_the_run_and_over_it_what_was_asked_for(run, wish, said):
    assert state_of(run, wish, take([], [])) == said


def test_show_tells_all_there_is_as_one_json_object(live, batch, monkeypatch, capsys):
    answers(monkeypatch, "running")
    showing.show("b1", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["items"], told["rejects"], told["summary"]) == ("running", 3, 1, None)
    assert [(stage["stage"], stage["remaining"]) for stage in told["stages"]] == [
        ("generate", 1),
        ("inspect", 1),
    ]
    assert [host["seconds_per_item"] for host in told["hosts"]] == [2.0, 2.0]
    assert told["waits"]


def test_every_key_that_show_and_item_tell_is_in_their_help(live, batch, monkeypatch, capsys):
    answers(monkeypatch, "running")
    for command, tell in ((showing.show, lambda: showing.show("b1", as_json=True)),
                          (items.item, lambda: items.item("b1", "a", as_json=True))):  # fmt: skip
        tell()
        told = json.loads(capsys.readouterr().out)
        inner = [
            one
            for value in told.values()
            if isinstance(value, list)
            for one in value
            if isinstance(one, dict)
        ]
        for key in {*told, *(key for one in inner for key in one)}:
            assert key in command.__doc__, key


def test_show_needs_no_plant_that_runs(live, batch, monkeypatch, capsys):
    collect(batch)
    answers(monkeypatch)
    showing.show("b1", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["summary"]["completed"]) == ("unknown", 2)
    live.progress.end("b1", "failed")
    showing.show("b1")
    assert "failed" in capsys.readouterr().out


def test_batches_are_listed_the_newest_first_whoever_is_away(live, batch, monkeypatch, capsys, tmp_path):
    other = plan(open_store(tmp_path.as_uri()), [["a"]], flow="A", batch_id="older")
    path = tmp_path / other.request_path
    os.utime(path, (1, 1))
    answers(monkeypatch, "running")
    listing.batches(number=20, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [line["batch_id"] for line in told["batches"]] == ["b1", "older"]
    assert [(line["state"], line["items"], line["finished"]) for line in told["batches"]] == [
        ("running", 3, 2), ("unknown", None, 0)
    ]  # fmt: skip
    answers(monkeypatch)
    listing.batches(number=1)
    said = capsys.readouterr().out
    assert "b1" in said
    assert "1 older ones" in said


def test_a_batch_that_all_but_the_store_have_forgotten_ended_as_its_manifest_says(
    live, monkeypatch, capsys, tmp_path
):
    lost = plan(open_store(tmp_path.as_uri()), [["a"]], flow="A", batch_id="lost")
    run(lost, {"00000": [row(lost, "a", "failed")]}, "generate")
    collect(lost)
    answers(monkeypatch)
    listing.batches(number=20, as_json=True)
    (line,) = json.loads(capsys.readouterr().out)["batches"]
    assert (line["state"], line["items"], line["finished"]) == ("failed", 1, 1)


def test_an_item_is_told_for_people(live, batch, capsys):
    items.item("b1", "a")
    said = capsys.readouterr().out
    assert "a of b1: completed" in said
    assert "chunk    00000" in said
    assert "generate: completed on h1, 1 try, 2.00 s" in said
    with pytest.raises(BadRequest, match="has no item 'zz'"):
        items.item("b1", "zz")
