"""Errors as Sentry gets them: a real client in a process of its own, a real endpoint, the whole envelope."""

import gzip
import json
import os
import subprocess
import sys

import pytest
from tests.receiver import receiving

SECRET = "a large red circle that nobody may read"
SCRIPT = """
import logging
import sys
import sentry_sdk
import darkroom.orchestration.scrubbing
from darkroom.errors import InvalidItem
secret = sys.stdin.read()
sentry_sdk.init(dsn=sys.argv[1], include_local_variables=True, default_integrations=False,
                auto_enabling_integrations=False)
logging.error("a mere line: %s", secret)
sentry_sdk.add_breadcrumb(message=secret)
with sentry_sdk.new_scope() as scope:
    scope.set_tag("batch", "b1")
    scope.set_extra("prompt", secret)
    scope.set_user({"id": secret})
    try:
        prompt = secret
        try:
            int(prompt)
        except ValueError as error:
            raise InvalidItem(f"prompt: {prompt}") from error
    except InvalidItem as error:
        sentry_sdk.capture_exception(error)
sentry_sdk.flush()
"""


@pytest.fixture(scope="module")
def sent():
    """What came in, and the events among it."""
    with receiving() as server:
        server.answers = [200] * 10
        subprocess.run(
            [sys.executable, "-c", SCRIPT, f"http://key@127.0.0.1:{server.server_port}/1"],
            env=os.environ | {"no_proxy": "127.0.0.1"}, check=True, timeout=60, input=SECRET, text=True,
        )  # fmt: skip
        bodies = [_unpacked(headers, body) for headers, body in server.got]
    events = []
    for body in bodies:
        entries = [json.loads(line) for line in body.split(b"\n") if line.startswith(b"{")]
        events += [entry for entry in entries if "exception" in entry or "logentry" in entry]
    return bodies, events


def _unpacked(headers, body):
    return gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body


def test_an_error_comes_with_its_kind_its_place_and_its_batch(sent):
    (event,) = sent[1]
    kinds = [error["type"] for error in event["exception"]["values"]]
    assert kinds == ["ValueError", "InvalidItem"]
    assert event["tags"] == {"batch": "b1", "code": "invalid_item", "fault": "item"}
    frames = event["exception"]["values"][-1]["stacktrace"]["frames"]
    assert frames[-1]["function"] == "<module>"


def test_no_text_of_an_item_leaves_whichever_way_it_could(sent):
    for body in sent[0]:
        assert SECRET.encode() not in body
    assert set(sent[1][0]) <= {
        "event_id", "timestamp", "level", "platform", "sdk", "release", "environment", "server_name", "tags",
        "exception",
    }  # fmt: skip
