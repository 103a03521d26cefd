"""Lines of our own processes, as a program reads them: a real process writes them."""

import json
import os
import subprocess
import sys

SCRIPT = """
import logging
from darkroom import logs
logs.begin(stage="generate", host="h1", server="")
log = logging.getLogger("supervisor")
log.info("%s is warm", "it")
logging.getLogger("httpx").info("every request")
try:
    raise ValueError("no\\nway")
except ValueError:
    log.exception("bad: \\u00e9")
"""


def lines(log_format):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=os.environ | {"DARKROOM_LOG_FORMAT": log_format},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stderr.splitlines()


def test_each_line_is_an_object_with_the_fields_of_its_process_and_a_traceback_stays_in_its_line():
    info, error = map(json.loads, lines("json"))
    assert info.pop("timestamp").endswith("+00:00")
    assert info == {
        "level": "info", "event": "it is warm", "logger": "supervisor", "stage": "generate", "host": "h1",
    }  # fmt: skip
    assert (error["level"], error["event"]) == ("error", "bad: é")
    assert error["exception"].endswith("ValueError: no\nway")


def test_for_people_it_is_text():
    text = lines("text")
    assert text[0].endswith(" INFO supervisor it is warm")
    assert len(text) > 2
