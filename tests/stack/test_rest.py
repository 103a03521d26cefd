"""docs/how-to/rest-api.md is true: all that it says is run, in its order, from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.settings import REPOSITORY

PAGE = (REPOSITORY / "docs" / "how-to" / "rest-api.md").read_text()
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SCRIPT = [(language, code) for language, code in BLOCKS if "=..." not in code]
"""Without the block where a reader puts in what is his."""


@pytest.fixture
def elsewhere(stack, tmp_path):
    """The environment of a machine that knows the plant's address and a login: no store, no Redis."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")}
    return inherited | {
        "DARKROOM_CONFIG": os.devnull,
        "DARKROOM_HOME": str(tmp_path / "nowhere"),
        "DARKROOM_API_URL": stack.addresses.api_url,
        "DARKROOM_API_USER": "admin",
        "DARKROOM_API_PASSWORD": stack.addresses.credentials.admin_password,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


def shell(folder):
    """The page as one script: what Python says is run where it stands, with what the shell has exported."""
    lines = ["set -euo pipefail"]
    for number, (language, code) in enumerate(SCRIPT):
        if language == "python":
            (folder / f"{number}.py").write_text(code)
            lines.append(f"python {number}.py")
        else:
            lines.append(code)
    return "\n".join(lines)


def test_the_page_from_the_first_command_to_the_last(elsewhere, tmp_path):
    script = tmp_path / "page.sh"
    script.write_text(shell(tmp_path))
    done = subprocess.run(
        ["bash", script.name], cwd=tmp_path, env=elsewhere, stdin=subprocess.DEVNULL, text=True,
        capture_output=True, check=False, timeout=600,
    )  # fmt: skip
    told = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    assert told.count("it was started before") == 2, told
    assert "409" in done.stdout.split(), told
    assert (tmp_path / "order-7.parquet").read_bytes()[:4] == b"PAR1"
    assert (tmp_path / "picture.png").read_bytes()[1:4] == b"PNG"
    said = done.stdout.splitlines()
    assert said.count("success") == 4, told  # order-7, the retry of order-8, order-9, the retry of order-10
    for one in (
        "12 of 12",
        "3 days",
        '["order-11"]',
        "order-10__retry1",
        "exit code 2",
        "2026-01-01T23:00:00Z",
    ):
        assert one in said, told
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["order-10.jsonl"]
    assert not (tmp_path / "nowhere").exists()


def test_every_file_that_the_page_links_to_exists():
    folder = REPOSITORY / "docs" / "how-to"
    links = [link for link in re.findall(r"\]\(([^)#:]+)\)", PAGE) if not (folder / link).exists()]
    assert links == []
