"""Go on without `darkroom.toml`: a mistake in it must not keep anybody from stopping the plant it started."""

import os
import re
import sys
from importlib import import_module

from darkroom.errors import BadRequest
from darkroom.settings import CONFIG_ENV, config_file, settings

_HOME = re.compile(r"""^\s*home\s*=\s*(["'])(?P<home>.+?)\1""", re.MULTILINE)
_OURS = {"DARKROOM_STAGES": "", "DARKROOM_FLOWS": ""}


def do_without_mistakes() -> None:
    """Where the settings or the tables of stages and flows are wrong, say so and leave the file out.

    Which plant is meant still counts: `home` is read even from a file that is no TOML.

    Raises:
        BadRequest: the mistake is in the environment.
    """
    try:
        import_module("darkroom.flows")  # reads the settings and makes the tables of them
    except BadRequest as error:
        print(f"darkroom: warning: {error}; going on without {config_file()}", file=sys.stderr)
        home = _home()
        os.environ |= {CONFIG_ENV: os.devnull, **_OURS, **({"DARKROOM_HOME": home} if home else {})}
        settings.cache_clear()


def _home() -> str:
    """The home that the environment or the file names; empty for the default."""
    try:
        text = config_file().read_text()
    except (OSError, ValueError):
        text = ""
    found = _HOME.search(text.split("\n[")[0])
    return os.environ.get("DARKROOM_HOME") or (found["home"] if found else "")
