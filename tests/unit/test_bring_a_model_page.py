"""docs/how-to/bring-a-model.md says what is so: its code, its row, its commands, its table of fields."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from io import BytesIO

import pytest
import typer
from PIL import Image

from darkroom import cli
from darkroom.commands.skeleton import Skeleton
from darkroom.errors import InvalidImage, InvalidItem
from darkroom.flows import Stage
from darkroom.settings import REPOSITORY, Settings
from darkroom.stages.base import Request

PAGE = (REPOSITORY / "docs" / "how-to" / "bring-a-model.md").read_text()
EXAMPLE = REPOSITORY / "examples" / "custom"
PHOTO = REPOSITORY / "examples" / "photos" / "cat.jpg"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("darkroom ")]


def test_the_code_and_the_row_on_the_page_are_those_of_the_example():
    assert blocks("python") == [(EXAMPLE / "sepia.py").read_text()]
    assert blocks("toml") == [(EXAMPLE / "darkroom.toml").read_text()]


def test_what_stands_on_the_page_keeps_the_contract(tmp_path):
    (tmp_path / "sepia.py").write_text(blocks("python")[0])
    (tmp_path / "darkroom.toml").write_text(blocks("toml")[0])
    own = {"DARKROOM_CONFIG": str(tmp_path / "darkroom.toml"), "DARKROOM_CODE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "darkroom.cli", "stage", "check", "sepia", "--json", "--seconds=0",
         f"--input={PHOTO}"],
        env=os.environ | own, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert {finding["state"] for finding in json.loads(done.stdout)["findings"]} == {"ok"}


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_on_the_page_is_one(line, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    command, arguments = typer.main.get_command(cli.app), shlex.split(line)[1:]
    context = command.make_context("darkroom", list(arguments), resilient_parsing=True)
    while hasattr(command, "resolve_command"):
        _, command, arguments = command.resolve_command(context, arguments)
        context = command.make_context(command.name, list(arguments), parent=context)


def test_every_variable_on_the_page_is_a_setting():
    known = {f"DARKROOM_{name.upper()}" for name in Settings.model_fields} | {"DARKROOM_CONFIG"}
    assert set(re.findall(r"DARKROOM_\w+", PAGE)) <= known


def test_every_field_of_a_row_is_explained():
    section = PAGE.partition("## 3.")[2].partition("## 4.")[0]
    explained = {name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
                 for name in re.findall(r"`(\w+)`", row)}  # fmt: skip
    assert explained == {field.name for field in fields(Stage)} - {"name"}


def test_the_flow_that_new_writes_is_the_one_on_the_page():
    assert Skeleton("sepia", "image", "image").flow == "A_S"


def test_every_file_that_the_page_links_to_exists():
    folder = REPOSITORY / "docs" / "how-to"
    assert [link for link in re.findall(r"\]\((\.\.[^)#]+)\)", PAGE) if not (folder / link).exists()] == []


@pytest.fixture
def sepia(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE)
    from sepia import Sepia

    model = Sepia()
    model.load()
    return model


def pixels(answer):
    picture = Image.open(BytesIO(answer.image))
    return picture.size, list(picture.get_flattened_data())


def test_the_example_makes_pictures_brown_by_their_strength(sepia):
    data = PHOTO.read_bytes()
    brown, as_it_was = sepia.run(
        [Request("a", image=data), Request("b", image=data, options={"strength": 0})]
    )
    size, found = pixels(brown)
    assert size == Image.open(PHOTO).size
    assert all(red >= green >= blue for red, green, blue in found)
    assert pixels(as_it_was)[1] == list(Image.open(PHOTO).convert("RGB").get_flattened_data())


def test_the_example_names_what_is_wrong_with_an_item(sepia):
    picture = sepia.sample().image
    broken, unknown, good = sepia.run(
        [Request("a", image=b"no picture"), Request("b", image=picture, options={"strenght": 1}),
         Request("c", image=picture)]
    )  # fmt: skip
    assert isinstance(broken, InvalidImage)
    assert isinstance(unknown, InvalidItem)
    assert "strenght" in str(unknown)
    assert good.image
