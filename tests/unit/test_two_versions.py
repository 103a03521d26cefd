"""A fleet in the middle of an upgrade: this Darkroom, and the next one with another field in its records."""

import os
import shutil
import subprocess
import sys

import pytest
from tests.unit.plant import plan, row, run

from darkroom.errors import NewerSchema
from darkroom.results.manifest import collect
from darkroom.settings import REPOSITORY
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store

CHANGES = {
    "records.py": {
        "SCHEMA_VERSION = 1\n": "SCHEMA_VERSION = 2\n",
        "    expires_at: datetime | None = None\n": "    hue: str = 'any'\n",
        "    model: str | None = None\n": "    hue: str | None = None\n",
    },
    "store/plan_table.py": {'            ("width", pa.int32()),\n': '            ("hue", pa.string()),\n'},
    "store/result_table.py": {'            ("model", pa.string()),\n': '            ("hue", pa.string()),\n'},
}
"""What the next version has added, behind which lines; the version is replaced."""


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    """Runs a script with the next version."""
    package = tmp_path_factory.mktemp("newer") / "darkroom"
    shutil.copytree(
        REPOSITORY / "include" / "darkroom", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    for name, changes in CHANGES.items():
        text = (package / name).read_text()
        for line, added in changes.items():
            assert text.count(line) == 1, line
            text = text.replace(line, added if line.startswith("SCHEMA") else line + added)
        (package / name).write_text(text)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(package.parent), str(REPOSITORY)])}

    def run_newer(script, store):
        begin = (
            "from darkroom.store.batches import Batch\nfrom darkroom.store.storage import open_store\n"
            "from tests.unit.plant import plan, row, run\n"
            f"store = open_store({store.url!r})\n"
        )
        command = [sys.executable, "-c", begin + script]
        ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    return run_newer


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path.as_uri())


def test_an_older_worker_refuses_a_chunk_that_the_next_version_has_planned(newer, store):
    newer('plan(store, [["a"]], flow="A")', store)
    with pytest.raises(NewerSchema, match="Upgrade this host"):
        Batch(store, "b1").plan_chunk("00000")
    assert NewerSchema.retryable, "another host may be of the next version already"


def test_the_next_version_finishes_what_the_older_one_has_planned_and_begun(newer, store):
    batch = plan(store, [["a"], ["b"]], flow="A")
    run(batch, {"00000": [row(batch, "a")]}, "generate")
    script = """
from darkroom.results.manifest import collect, rows, verify
batch = Batch(store, "b1")
assert [item.hue for item in batch.plan_chunk("00001")] == ['any']
run(batch, {"00001": [row(batch, "b", hue="red")]}, "generate")
summary = collect(batch)
assert verify(batch).ok, verify(batch).problems
print(sorted((found.custom_id, found.hue) for found in rows(batch, summary)))
"""
    assert newer(script, store) == "[('a', None), ('b', 'red')]"


def test_an_older_plant_does_not_collect_what_the_next_version_has_written(newer, store):
    batch = plan(store, [["a"]], flow="A")
    newer('batch = Batch(store, "b1")\nrun(batch, {"00000": [row(batch, "a")]}, "generate")', store)
    with pytest.raises(NewerSchema):
        collect(batch)
