"""`darkroom plan` says what a batch would be and leaves nothing behind."""

import json

import pytest
from tests.unit.live_plant import server

from darkroom import cli
from darkroom.flows import STAGES
from darkroom.live.rates import Rates
from darkroom.settings import settings


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DARKROOM_SOURCE_ROOTS", json.dumps([str(tmp_path)]))
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DARKROOM_REDIS_URL", "redis://127.0.0.1:1/0")  # nobody is told
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            raise SystemExit(cli.main(["plan", *arguments]))
        return ended.value.code or 0, *capsys.readouterr()

    yield run
    settings.cache_clear()


def test_it_prints_one_json_object(plan, tmp_path):
    rows = [json.dumps({"custom_id": f"i{n}", "prompt": "x"}) for n in range(300)]
    (tmp_path / "a.jsonl").write_text("\n".join([*rows, rows[0], "{"]))
    code, out, err = plan("a.jsonl", "--flow", "A", "--json")
    figures = json.loads(out)
    assert (code, err) == (0, "")
    assert list(figures) == ["items", "rejects", "chunks", "shards", "seconds", "peak_memory_mb"]
    assert (figures["items"], figures["rejects"], figures["shards"]) == (300, 2, 1)
    assert figures["chunks"] > 1
    assert 0 < figures["peak_memory_mb"] < 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_it_shows_a_person_the_first_rejects_and_how_long_it_will_take(plan, tmp_path):
    (tmp_path / "1.jsonl").write_text('{"custom_id":"a","prompt":"x"}\n' + "{\n" * 7)
    (tmp_path / "2.jsonl").write_text("{[/]\n")
    code, out, _ = plan("*.jsonl", "--flow", "A")
    assert code == 0
    assert "items               1\nrejects             8\n" in out
    assert "duration" in out
    assert "The first rejects:\n  1.jsonl, line 2: not JSON" in out
    assert out.count("not JSON") == 5


def test_it_is_cut_by_what_the_plant_can_do_now(plan, tmp_path, monkeypatch, url):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"custom_id":"{n}","prompt":"x"}}\n' for n in range(300)))
    _, table, _ = plan("a.jsonl", "--flow", "A")
    monkeypatch.setenv("DARKROOM_REDIS_URL", url)
    settings.cache_clear()
    for number in range(4):
        server(url, f"generate-{number}")
        Rates(url).tell("generate", STAGES["generate"].model, f"generate-{number}@box", 30, 3000.0)
    _, measured, _ = plan("a.jsonl", "--flow", "A")
    assert "by the servers of the stage table" in table
    assert "7500 seconds" in measured or "2 hours" in measured, "300 items of 100 s on four servers"
    assert "by the servers that are ready now" in measured
    chunks = [int(told.partition("chunks")[2].split()[0]) for told in (table, measured)]
    assert chunks[0] < chunks[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none-*.jsonl", "--flow", "A"], "matches no file"),
        (["a.jsonl", "--flow", "X"], "--flow 'X': choose one of"),
        (["a.jsonl", "--flow", "A", "--options", "["], "--options is not JSON"),
        (["/etc/passwd", "--flow", "A"], "outside the allowed roots"),
    ],
)
def test_what_cannot_be_planned_is_told_and_exits_with_2(plan, arguments, told):
    code, out, err = plan(*arguments)
    assert (code, out) == (2, "")
    assert told in err
