"""One real stack for all tests here, in a folder and on ports of its own, with short time-outs."""

import json

import pytest

from darkroom.settings import REPOSITORY
from tests import paging_api as paging_api_server
from tests.stack.handle import OVERRIDES, new_stack, running

DAILY = {
    "source": "daily/{day}.jsonl",
    "flow": "A",
    "time_zone": "Europe/Berlin",
    "wait_h": 72,
    "missing": "skip",
    "days_at_once": 2,
}
"""The last day is waited for, older ones are not."""
THEN = {
    "parity": {"summary": "odd files to B_C, even ones to A_C", "function": "parity:by_parity"},
    "broken": {"summary": "takes no such arguments", "function": "json:dumps"},
}
LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle"
BUNDLES = [
    {"name": "dags-folder", "classpath": LOCAL, "kwargs": {}},
    {"name": "tests", "classpath": LOCAL, "kwargs": {"path": str(REPOSITORY / "tests" / "stack" / "dags")}},
]
"""Beside the shipped DAGs, that of somebody who uses what they make."""


@pytest.fixture(scope="package")
def paging_api():
    """An HTTP API whose pages may be a source; the plant is told of it before it starts."""
    with paging_api_server.api() as server:
        yield server


@pytest.fixture(scope="package")
def stack(paging_api):
    """A stack with every part at work; a test that breaks it waits until it is whole again."""
    new = new_stack()
    overrides = OVERRIDES | {"dag_processor.dag_bundle_config_list": json.dumps(BUNDLES)}
    new.more = {
        "DARKROOM_DAILY": json.dumps(DAILY),
        "DARKROOM_THEN": json.dumps(THEN),
        "DARKROOM_PAGES": json.dumps(paging_api.tables),
        "DARKROOM_AIRFLOW_OVERRIDES": json.dumps(overrides),
        "DARKROOM_CALLBACK_HOSTS": json.dumps(["127.0.0.1"]),
    }
    with running(new) as started:
        yield started
