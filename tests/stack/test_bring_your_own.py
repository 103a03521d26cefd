"""A stage of one's own in the real plant: the example of docs/how-to/bring-a-model.md.

By the command alone: the stages of this process are those that were there when it was imported.
"""

import json
from io import BytesIO
from pathlib import Path
from urllib.parse import urlparse
from uuid import uuid4

import pytest
from PIL import Image

from tests.stack.plant import source

BLUE = "a large blue circle on a white background"


@pytest.fixture(scope="module")
def old_prints(stack):
    """Rows of a verified batch of three prompts through A_S, by id, and what was refused of the source."""
    lines = [
        {"custom_id": "brown", "prompt": BLUE, "seed": 1},
        {"custom_id": "brown-too", "prompt": "a small red star on a black background", "seed": 2},
        {"custom_id": "as-it-was", "prompt": BLUE, "seed": 3, "options": {"sepia": {"strength": 0}}},
        {"custom_id": "typo", "prompt": BLUE, "options": {"sepia": {"strenght": 1}}},
    ]
    path, batch = source("old.jsonl", "\n".join(map(json.dumps, lines))), f"old-{uuid4().hex[:8]}"
    done = stack.darkroom(
        "submit", str(path), "--flow", "A_S", "--batch", batch, "--wait", "--json",
        "--options", '{"generate": {"steps": 8}, "sepia": {"strength": 1}}', timeout_s=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    verified = stack.darkroom("verify", batch)
    assert verified.returncode == 0, verified.stderr
    folder = stack.home.path / "store" / "batches" / batch
    rows = read(folder / "manifests" / "0001" / "manifest.jsonl")
    return {row["custom_id"]: row for row in rows}, read(folder / "rejects.jsonl")


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def pixels(row):
    data = Path(urlparse(row["image_uri"]).path).read_bytes()
    return list(Image.open(BytesIO(data)).convert("RGB").get_flattened_data())


def is_brown(row):
    return all(red >= green >= blue for red, green, blue in pixels(row))


def test_its_pictures_are_in_the_manifest(old_prints):
    rows, _ = old_prints
    assert {name: row["status"] for name, row in rows.items()} == dict.fromkeys(
        ("brown", "brown-too", "as-it-was"), "completed"
    )
    assert is_brown(rows["brown"])
    assert is_brown(rows["brown-too"])


def test_an_items_own_option_goes_before_that_of_the_run(old_prints):
    rows, _ = old_prints
    assert not is_brown(rows["as-it-was"])


def test_a_wrong_option_of_an_own_stage_is_refused_with_its_line(old_prints):
    _, rejects = old_prints
    assert [(reject["line"], reject["field"]) for reject in rejects] == [(4, "options.sepia")]
    assert "strenght" in rejects[0]["reason"]


def test_a_row_says_which_model_made_the_picture_and_where(old_prints):
    rows, _ = old_prints
    for row in rows.values():
        assert (row["model"], row["host"].split("@")[0]) == ("sepia@1", "sepia-1")
        assert list(row["details"]["stages"]) == ["generate", "sepia"]


def test_it_has_a_server_and_a_worker_of_its_own_below_its_memory_limit(stack):
    stack.wait_healthy(180)
    parts = stack.status()
    assert {"server-sepia-1", "worker-sepia-1"} <= set(parts)


def test_it_is_listed_with_its_queue(stack):
    listed = json.loads(stack.darkroom("stage", "list", "--json").stdout)
    sepia = next(stage for stage in listed["stages"] if stage["name"] == "sepia")
    assert (sepia["origin"], sepia["file"], sepia["queue"]) == (
        "own",
        "examples/custom/sepia.py",
        "gpu.sepia",
    )
