"""Many files by one name: `inputs/day-*.jsonl.gz`, `inputs/**/*.csv`, `s3://bucket/day-?/*.parquet`."""

from collections.abc import Iterable, Iterator
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
    return (name for name in names if _matches(name.split("/"), parts))


def local_matches(folder: Path, pattern: str) -> Iterator[str]:
    """The files below `folder` that match, in no promised order; folders are no matches.

    Links are followed only where the pattern names a folder, not for `**`: a loop has no end.
    """
    parts = _parts(pattern)
    for path in folder.glob("/".join(parts)):
        name = path.relative_to(folder).as_posix()
        if _matches(name.split("/"), parts) and not path.is_dir():
            yield name


def _parts(pattern: str) -> list[str]:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    return [*parts, "*"] if parts and parts[-1] == "**" else parts


def _matches(names: list[str], parts: list[str]) -> bool:
    if not parts or not names:
        return not parts and not names
    if parts[0] == "**":
        hidden = names[0].startswith(".")
        return _matches(names, parts[1:]) or (not hidden and _matches(names[1:], parts))
    if names[0].startswith(".") and not parts[0].startswith("."):
        return False
    return fnmatchcase(names[0], parts[0]) and _matches(names[1:], parts[1:])
