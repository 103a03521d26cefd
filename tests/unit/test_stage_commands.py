"""`darkroom stage new | check | list`, as their user meets them."""

import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from darkroom import cli
from darkroom.commands import stages as commands
from darkroom.commands.checking import Wanted, examine
from darkroom.commands.skeleton import Skeleton, write
from darkroom.errors import BadRequest
from darkroom.flows import STAGES, Stage
from darkroom.settings import REPOSITORY, settings
from darkroom.stages.contract import Contract
from darkroom.stages.report import SERVER_MB, Recommended, Speed

HERE = Path(__file__).parent


class Place:
    """A folder with a `darkroom.toml` and modules, and the command at work in it."""

    def __init__(self, folder):
        self.folder, self.code, self.config = folder, folder / "custom", folder / "darkroom.toml"
        self.code.mkdir()
        self.config.touch()

    def darkroom(self, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "darkroom.cli", "stage", *arguments],
            env={**os.environ, "DARKROOM_CONFIG": str(self.config), "DARKROOM_CODE": str(self.code),
                 "PYTHONPATH": str(HERE), "COLUMNS": "120"},
            cwd=self.folder, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def check(self, name, *arguments):
        """The report, and what the command's exit code was."""
        done = self.darkroom("check", name, "--json", "--seconds=0", *arguments)
        assert done.stdout, done.stderr
        return json.loads(done.stdout), done.returncode

    def row(self, name, **fields):
        """Put a stage into the file."""
        known = {
            "summary": "x", "implementation": f"misbehaving_stages:{name}", "model": "m@1",
            "takes": "image", "gives": "image", "memory_mb": 2000, "seconds_per_item": 1, **fields,
        }  # fmt: skip
        lines = [f"{field} = {json.dumps(value)}" for field, value in known.items()]
        self.config.write_text("\n".join([f"[stages.{name.lower()}]", *lines]))


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


# new


@pytest.mark.parametrize(
    ("arguments", "stages"),
    [
        ((), ["generate", "mine"]),
        (("--gives", "verdict"), ["generate", "mine"]),
        (("--takes", "prompt"), ["mine", "inspect"]),
    ],
)
def test_what_new_writes_keeps_the_contract_as_it_stands(place, arguments, stages):
    made = place.darkroom("new", "mine", *arguments)
    assert made.returncode == 0, made.stderr
    assert "darkroom stage check mine" in made.stdout
    rows = tomllib.loads(place.config.read_text())
    assert next(iter(rows["flows"].values()))["stages"] == stages
    report, code = place.check("mine")
    assert (code, {finding["state"] for finding in report["findings"]}) == (0, {"ok"}), report
    assert report["loaded"]["device"] == "cpu"


def test_new_leaves_what_is_in_the_file_as_it_is(place):
    before = "# my fleet\nthreads = 2\n\n[stages.inspect]\nservers = 1 # one is enough"
    place.config.write_text(before)
    assert place.darkroom("new", "mine").returncode == 0
    text = place.config.read_text()
    assert text.startswith(before + "\n\n[stages.mine]\n")
    assert set(tomllib.loads(text)["stages"]) == {"inspect", "mine"}


def test_new_makes_the_file_and_the_folder_where_there_are_none(tmp_path):
    path = write(Skeleton("mine_too", "image", "image"), tmp_path / "custom", tmp_path / "darkroom.toml")
    assert "class MineToo:" in path.read_text()
    assert "skeleton" not in path.read_text().lower()
    assert (tmp_path / "darkroom.toml").read_text().startswith("[stages.mine_too]\n")


def test_a_second_stage_gets_a_flow_of_its_own(place):
    assert place.darkroom("new", "sepia").returncode == 0
    assert place.darkroom("new", "softer").returncode == 0
    assert list(tomllib.loads(place.config.read_text())["flows"]) == ["A_S", "A_SOFTER"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Sepia", "lower-case"),
        ("../sepia", "lower-case"),
        ("lambda", "no word of Python's"),
        ("x" * 32, "at most 31"),
        ("generate", "there is such a stage already"),
        ("json", "a module of that name is installed"),
        ("airflow", "a module of that name is installed"),
    ],
)
def test_a_name_that_can_not_be_used_is_refused_and_nothing_is_written(place, name, told):
    refused = place.darkroom("new", name)
    assert refused.returncode == 2
    assert told in refused.stderr
    assert (list(place.code.iterdir()), place.config.read_text()) == ([], "")


def test_new_overwrites_no_file(place):
    (place.code / "mine.py").write_text("precious = True\n")
    refused = place.darkroom("new", "mine")
    assert (refused.returncode, (place.code / "mine.py").read_text()) == (2, "precious = True\n")
    assert "exists already" in refused.stderr


def test_new_twice_is_refused(place):
    assert place.darkroom("new", "mine").returncode == 0
    before = place.config.read_text()
    assert place.darkroom("new", "mine").returncode == 2
    assert place.config.read_text() == before


def test_a_file_whose_end_takes_no_row_gets_none_and_the_row_is_shown(tmp_path):
    config = tmp_path / "darkroom.toml"
    config.write_text("stages = {inspect = {servers = 1}}\n")
    with pytest.raises(BadRequest, match=r"put it in yourself:\n\n\[stages.mine\]"):
        write(Skeleton("mine", "image", "image"), tmp_path, config)
    assert list(tmp_path.iterdir()) == [config]


def test_a_stage_of_verdicts_on_prompts_is_refused(place):
    refused = place.darkroom("new", "mine", "--takes", "prompt", "--gives", "verdict")
    assert refused.returncode == 2
    assert "there would be no picture" in refused.stderr


# check: the contract


def findings(cls, gives="image", takes="image"):
    """What is found in this process; `alive` is told before each call of `run`."""
    import misbehaving_stages

    model = getattr(misbehaving_stages, cls)()
    stage = Stage(
        name="mine", summary="x", implementation=f"misbehaving_stages:{cls}", model="m@1",
        takes=takes, gives=gives, memory_mb=500, seconds_per_item=1,
    )  # fmt: skip
    return list(Contract(stage, model, model.sample()).check())


def test_a_good_stage_keeps_every_clause():
    assert {finding.state for finding in findings("Good")} == {"ok"}
    assert {finding.state for finding in findings("Judges", gives="verdict")} == {"ok"}


@pytest.mark.parametrize(
    ("cls", "told"),
    [
        ("TooFew", "run() gave 1 answer to 3 items"),
        ("NoList", "run() gave a tuple"),
        ("OddAnswers", "run() answered with a bytes"),
        ("Reversed", "another order"),
        ("NoPng", "is no PNG"),
        ("CutPng", "without its end"),
        ("NoBytes", "Output.image is a list"),
        ("NoPicture", "no picture"),
        ("Judges", "no picture"),
        ("OddDetails", "details is no JSON"),
        ("AnyOption", "an unknown option gave a result"),
        ("OptionOfOtherError", "an unknown option gave StageFailed: KeyError"),
        ("TakesNeighboursAlong", "a bad item took its neighbours along"),
        ("Raises", "run() raised RuntimeError on 3 items: no kernel image"),
    ],
)
def test_each_breach_is_found_and_says_what_to_do(cls, told):
    failed = [finding for finding in findings(cls) if finding.state == "failed"]
    assert [told in finding.what for finding in failed] == [True], failed
    assert failed[0].todo


def test_a_stage_that_gives_a_picture_instead_of_a_verdict_is_found():
    last = findings("Good", gives="verdict")[-1]
    assert (last.state, last.what) == ("failed", "run() gave no verdict")


def test_a_raise_is_shown_with_the_users_own_traceback_only():
    text = findings("Raises")[-1].traceback
    assert "in raise_here" in text
    assert "contract.py" not in text


@pytest.mark.parametrize(
    ("cls", "told"),
    [
        ("NeverTheSame", "the same request gave different answers"),
        ("BatchShapes", "other bytes in a batch than alone"),
        ("RollsDice", "another seed gives another answer"),
    ],
)
def test_pictures_that_do_not_repeat_are_a_warning(cls, told):
    found = findings(cls)
    assert {finding.state for finding in found} == {"ok", "warning"}
    assert any(told in finding.what and finding.todo for finding in found if finding.state == "warning")


def test_a_stage_that_takes_prompts_may_roll_dice():
    assert not any("another seed" in finding.what for finding in findings("RollsDice", takes="prompt"))


# check: the command


def failure(place, cls, **fields):
    """The one finding that failed, of a stage checked by the command."""
    place.row(cls, **fields)
    report, code = place.check(cls.lower())
    failed = [finding for finding in report["findings"] if finding["state"] == "failed"]
    assert (code, report["ok"], len(failed)) == (1, False, 1), report
    return failed[0]


@pytest.mark.parametrize(
    ("cls", "told"),
    [
        ("Refuses", "run() refused the stage's own sample: InvalidItem: prompt: I need one"),
        ("OddSample", "sample() gave a dict"),
        ("LoadRaises", "load() raised RuntimeError: no kernel image"),
        ("WantsConfig", "WantsConfig() raised TypeError: "),
        ("NoRun", "NoRun has no run()"),
        ("NoSuchClass", "no class 'NoSuchClass'"),
        ("Exits", "its process ended while loading (exit code 1)"),
        ("Dies", "its process ended while run() (SIGSEGV)"),
    ],
)
def test_what_does_not_even_run_is_told_and_exits_with_1(place, cls, told):
    assert told in failure(place, cls)["what"]


def test_what_run_each_caught_is_shown_with_its_traceback(place):
    failed = failure(place, "RaisesOnItems")
    assert "StageFailed: RuntimeError: no kernel image" in failed["what"]
    assert "in raise_here" in failed["traceback"]


def test_what_it_said_before_it_died_is_shown(place):
    assert "usage: no such flag" in failure(place, "Exits")["traceback"]


@pytest.mark.parametrize(
    ("cls", "limits", "told"),
    [
        ("HangsInLoad", {"load_s": 1}, "loading had not ended after load_s = 1 s"),
        ("HangsInRun", {"deadline_s": 1}, "run() had not ended after deadline_s = 1 s"),
    ],
)
def test_what_hangs_is_ended_after_its_limit_and_shows_where_it_hung(place, cls, limits, told):
    begun = time.monotonic()
    failed = failure(place, cls, **limits)
    assert time.monotonic() - begun < 15
    assert told in failed["what"]
    assert "misbehaving_stages.py" in failed["traceback"]
    assert "contract.py" not in failed["traceback"]


def test_a_stage_that_outgrows_its_memory_is_told_how_much_it_takes(place):
    place.row("Grows", memory_mb=SERVER_MB + 60, batch_size=2)
    report, code = place.check("grows", "--batch-sizes=1,2")
    assert code == 1
    assert "memory_mb is 170" in report["findings"][-1]["what"]
    assert report["recommended"]["memory_mb"] > SERVER_MB + 60


def test_out_of_memory_beyond_the_rows_batch_size_only_bounds_the_recommendation(place):
    place.row("OutOfMemory", batch_size=4)
    report, code = place.check("outofmemory", "--batch-sizes=4,8,16")
    assert code == 0
    assert [bool(speed["error"]) for speed in report["speeds"]] == [False, True]
    assert report["findings"][-1]["state"] == "warning"
    assert report["recommended"]["batch_size"] == 4


def test_what_a_stage_prints_disturbs_nothing(place):
    place.row("Prints")
    assert place.check("prints")[1] == 0


def test_the_smallest_batch_near_the_best_throughput_is_recommended(place):
    place.row("Sleeps")
    report, _ = place.check("sleeps", "--batch-sizes=1,4,8")
    assert report["recommended"]["batch_size"] == 4
    assert report["recommended"]["seconds_per_item"] == pytest.approx(0.0125, rel=0.2)
    assert report["loaded"]["device"] == "toaster:0"


def test_check_shows_a_person_the_table_and_the_lines_to_put_in(place):
    place.row("Good")
    shown = place.darkroom("check", "good", "--seconds=0", "--batch-sizes=1,2")
    assert shown.returncode == 0, shown.stderr
    for text in ("misbehaving_stages:Good (m@1)", "items/s", "recommended", "batch_size = ", "memory_mb = "):
        assert text in shown.stdout


def test_a_real_item_can_be_measured(place):
    place.row("Good")
    picture = REPOSITORY / "examples" / "photos" / "cat.jpg"
    report, code = place.check("good", "--input", str(picture))
    assert (code, report["findings"][-1]["what"]) == (1, "Output.image is no PNG: it begins with "
                                                         f"{picture.read_bytes()[:8]!r}")  # fmt: skip


@pytest.mark.parametrize("arguments", [("nobody",), ("good", "--batch-sizes=0"), ("good", "--batch-sizes=a"),
                                       ("good", "--input=/no/such/file")])  # fmt: skip
def test_what_can_not_be_checked_exits_with_2(place, arguments):
    place.row("Good")
    assert place.darkroom("check", *arguments).returncode == 2


# check: what a DAG parse pays


OPTIONS = """
from typing import Annotated
from pydantic import Field
from darkroom.stages.options import Options
class MineOptions(Options):
    strength: Annotated[float, Field(description="How much.")] = 1.0
"""


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("import numpy\n" + OPTIONS, "importing mine_light imports numpy"),
        ("import time; time.sleep(0.6)\n" + OPTIONS, "importing mine_light takes 0."),
        ("import no_such_runtime\n" + OPTIONS, "needs no_such_runtime, which is not installed"),
        ("1 / 0", "ZeroDivisionError"),
        ("def broken(:", "mine_light.py, line 1: "),
        ("import os; os._exit(3)", "ended the process (exit code 3)"),
        ("", "no class 'MineOptions'"),
        ("class MineOptions: pass", "is no Options"),
        (OPTIONS + "    side: int", "option side has no default and no description"),
    ],
)
def test_options_that_burden_or_break_a_dag_parse_are_found(tmp_path, monkeypatch, module, told):
    (tmp_path / "mine_light.py").write_text(module)
    failed = [finding for finding in weighed(tmp_path, monkeypatch) if finding.state == "failed"]
    assert [told in finding.what for finding in failed] == [True], failed


def weighed(folder, monkeypatch):
    monkeypatch.setenv("DARKROOM_CODE", str(folder))
    settings.cache_clear()
    stage = Stage(
        name="mine", summary="x", implementation="misbehaving_stages:NoSuchClass", model="m@1",
        options="mine_light:MineOptions", takes="image", gives="image", memory_mb=500, seconds_per_item=1,
    )  # fmt: skip
    try:
        return examine(stage, Wanted([1], 0), lambda what, share: None).findings
    finally:
        settings.cache_clear()


# recommending


def speed(batch_size, items_per_s, ram_mb=100, p95_s=0.1):
    return Speed(batch_size=batch_size, p95_s=p95_s, items_per_s=items_per_s, ram_mb=ram_mb)


def recommended(*speeds):
    return Recommended.of(speeds, STAGES["generate"])  # memory_mb 600, deadline_s 120


def test_a_batch_that_would_not_fit_is_not_recommended():
    assert recommended(speed(1, 10), speed(8, 50, ram_mb=500)).batch_size == 1
    assert recommended(speed(1, 10), speed(8, 50, p95_s=121)).batch_size == 1


def test_where_nothing_fits_the_memory_that_it_takes_is_recommended():
    found = recommended(speed(1, 10, ram_mb=1000))
    assert found.memory_mb == 1400  # a quarter over 1000 and what a server takes, in steps of 50


def test_nothing_is_recommended_where_nothing_was_measured():
    assert recommended() is None
    assert recommended(Speed(batch_size=1, error="raised")) is None


# list


def test_list_shows_every_stage_and_flow(place):
    place.darkroom("new", "mine")
    shown = place.darkroom("list")
    assert shown.returncode == 0, shown.stderr
    for text in ("generate", "B_C", "A_M (own)", "own:", "shipped:"):
        assert text in shown.stdout


def test_list_as_json_says_whose_a_stage_is_and_where(place):
    place.darkroom("new", "mine")
    place.config.write_text(place.config.read_text() + "\n[stages.inspect]\nservers = 1\n")
    listed = json.loads(place.darkroom("list", "--json").stdout)
    origins = {stage["name"]: stage["origin"] for stage in listed["stages"]}
    assert origins == {"generate": "shipped", "enhance": "shipped", "inspect": "changed", "mine": "own"}
    assert listed["stages"][-1]["file"] == str(place.code / "mine.py")
    assert listed["stages"][-1]["queue"] == "gpu.mine"
    assert [flow["name"] for flow in listed["flows"] if flow["origin"] == "own"] == ["A_M"]


@pytest.mark.parametrize("command", [command.name or command.callback.__name__ for command in
                                     commands.app.registered_commands])  # fmt: skip
def test_every_command_of_the_group_explains_itself_by_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["stage", command, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert f" stage {command} [OPTIONS]" in out
    assert "For example:" in out
