"""What is built and run: commits of this repository, and the commands of its page about containers."""

import re
import shutil
from pathlib import Path

from tests.containers.engine import REPOSITORY, run

EARLIER = "6f10310"
"""An upgrade is tried from here: the first version whose page said how."""
PAGE = REPOSITORY / "docs/how-to/containers.md"


def snapshot(folder: Path) -> Path:
    """A repository of what is committed now: it stays as it is while others go on."""
    path = folder / "origin.git"
    shutil.rmtree(path, ignore_errors=True)
    run(["git", "clone", "--quiet", "--bare", str(REPOSITORY), str(path)])
    return path


def check_out(origin: Path, folder: Path, commit: str = "HEAD") -> None:
    """A clone that stands at an older commit, so that `git pull` brings it up to date."""
    shutil.rmtree(folder, ignore_errors=True)
    run(["git", "clone", "--quiet", str(origin), str(folder)])
    run(["git", "-C", str(folder), "reset", "--quiet", "--hard", commit])
    (folder / "inputs").mkdir(exist_ok=True)  # Docker makes it, podman does not


def revision(folder: Path) -> str:
    return run(["git", "-C", str(folder), "rev-parse", "HEAD"])


def commands(heading: str, number: int = 0) -> str:
    """The n-th block of commands below a heading of the page."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert section, heading
    return str(re.findall(r"```bash\n(.*?)```", section[1], re.DOTALL)[number])
