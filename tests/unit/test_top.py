"""`darkroom top` shows what the API tells, and no name in it becomes markup."""

import json

import pytest
from rich.console import Console
from tests.unit.commandline import command
from tests.unit.live_plant import two_batches

from darkroom.commands import top
from darkroom.live.meter import Meter
from darkroom.views.overview import Overview
from darkroom.views.survey import Surveyor


class Api:
    def __init__(self, told):
        self.told = told

    def darkroom(self, method, path):
        assert (method, path) == ("GET", "/api/plant")
        return self.told


@pytest.fixture
def seen(url, monkeypatch):
    Meter(url).computed("inspect", "b1", 40, 40.0)
    told = Surveyor(url, url).look(two_batches(url))
    monkeypatch.setattr(top, "api", lambda: Api(told.model_dump(mode="json")))
    return told


def test_it_begins_with_the_sentence_and_has_every_stage_batch_and_server(seen, capsys):
    assert command("top", "--once") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("generate is the bottleneck")
    for name in ("inspect", "b1", "b2", "█", "generate-1@box", "inspect-2@box"):
        assert name in shown


def test_where_nobody_looks_it_shows_the_plant_once(seen, capsys):
    assert command("top") == 0
    assert "generate is the bottleneck" in capsys.readouterr().out


def test_json_is_what_the_api_told(seen, capsys):
    assert command("top", "--json") == 0
    assert Overview.model_validate(json.loads(capsys.readouterr().out)) == seen


def test_no_name_is_markup(seen):
    evil = seen.servers[0].model_copy(update={"reason": "[red]no[/red]", "server": "[b]x"})
    console = Console(width=300, record=True, file=None)
    with console.capture() as shown:
        console.print(top.drawn(seen.model_copy(update={"servers": [evil]})))
    assert "[red]no[/red]" in shown.get()
    assert "[b]x" in shown.get()


def test_it_fits_a_narrow_terminal(seen):
    console = Console(width=60)
    with console.capture() as shown:
        console.print(top.drawn(seen))
    assert max(map(len, shown.get().splitlines())) <= 60
