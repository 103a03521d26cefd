"""Old log files: of tasks, of the DAG processor, and what was rotated of the plant's processes.

Airflow makes a folder per run and never removes one. What the processes of the plant write is rotated by
size, so it stays small; only what was rotated long ago goes.
"""

import contextlib
import stat
from pathlib import Path

from darkroom.retention.tally import Tally


def clean(airflow_logs: Path, home: Path, before_s: float, tally: Tally) -> None:
    """Remove what was last written before `before_s`.

    Args:
        airflow_logs: Airflow's folder for logs.
        home: the state folder of a plant; workers on its machine have theirs in it.
        before_s: epoch seconds.
        tally: told of each.
    """
    workers = sorted((home / "workers").glob("[!.]*"))
    for logs in (airflow_logs, *(worker / "airflow" / "logs" for worker in workers)):
        for folder in sorted(logs.glob("*")):
            if folder.is_dir() and not folder.is_symlink():
                _clean_folder(folder, before_s, tally)
    for state in (home, *workers):
        for path in sorted((state / "logs").glob("*.log.[0-9]*")):
            _clean_file(path, before_s, tally)


def _clean_folder(folder: Path, before_s: float, tally: Tally) -> None:
    written_s = folder.stat().st_mtime  # before its files go, which changes it
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            _clean_folder(path, before_s, tally)
        else:
            _clean_file(path, before_s, tally)
    # One that is new may be about to get its first file.
    if written_s < before_s and not tally.dry_run:
        with contextlib.suppress(OSError):  # something is in it
            folder.rmdir()


def _clean_file(path: Path, before_s: float, tally: Tally) -> None:
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_mtime >= before_s:
            return
        if not tally.dry_run:
            path.unlink()
    except FileNotFoundError:  # rotated away meanwhile
        return
    tally.add(found.st_size, found.st_mtime)
