"""Many files by one name: `inputs/day-*.jsonl.gz`, `inputs/**/*.csv`, `s3://bucket/day-?/*.parquet`."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

_WILD = frozenset("*?[")


def is_glob(name: str) -> bool:
    """Whether `name` may stand for several files."""
    return not _WILD.isdisjoint(name)


def split_glob(pattern: str) -> tuple[str, str]:
    """The folder that all matches lie under, and the pattern below it.

    `a/b/day-*/x.csv` is `a/b` and `day-*/x.csv`; a folder of nothing is empty.
    """
    parts = pattern.split("/")
    fixed = next(n for n, part in enumerate(parts) if not _WILD.isdisjoint(part))
    return "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else ""), "/".join(parts[fixed:])


def matching(names: Iterable[str], pattern: str) -> Iterator[str]:
    """Those of `names` (paths below the pattern's folder) that match it.

    `*`, `?` and `[...]` stay within a folder's or file's name, `**` stands for any number of folders. What
    begins with a dot is matched only by a pattern that says so, as in a shell.
    """
    parts = _parts(pattern)
    begin = _with_none({0}, parts)
    for name in names:
        places = begin
        for step in name.split("/"):
            places = _after(step, places, parts)
        if len(parts) in places:
            yield name


def local_matches(folder: Path, pattern: str) -> Iterator[str]:
    """The files below `folder` that match, in no promised order; folders are no matches.

    Links are followed only where the pattern names a folder, not for `**`: a loop has no end.
    """
    parts = _parts(pattern)
    todo = [("", _with_none({0}, parts))]
    while todo:
        below, places = todo.pop()
        with suppress(FileNotFoundError, PermissionError), os.scandir(folder / below) as entries:
            for entry in entries:
                reached = _after(entry.name, places, parts, is_link=entry.is_symlink())
                if reached and entry.is_dir():
                    todo.append((f"{below}{entry.name}/", reached))
                elif len(parts) in reached:
                    yield below + entry.name


def _parts(pattern: str) -> list[str]:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    return [*parts, "*"] if parts and parts[-1] == "**" else parts


def _after(name: str, places: set[int], parts: list[str], is_link: bool = False) -> set[int]:
    """Where in the pattern one may be, a name further on; past its last part, the path matches.

    All places at once, however many `**` there are: to try one after the other takes exponential time.
    """
    hidden = name.startswith(".")
    reached = set()
    for place in places - {len(parts)}:
        if parts[place] == "**":
            if not (hidden or is_link):
                reached.add(place)
        elif fnmatchcase(name, parts[place]) and (not hidden or parts[place].startswith(".")):
            reached.add(place + 1)
    return _with_none(reached, parts)


def _with_none(places: set[int], parts: list[str]) -> set[int]:
    """The same, and behind each `**`, which may stand for no folder."""
    for place in sorted(places):
        while place < len(parts) and parts[place] == "**":
            place += 1  # noqa: PLW2901
            places.add(place)
    return places
