"""One real stack for all tests here, in a folder and on ports of its own, with short time-outs."""

import json

import pytest

from darkroom.settings import REPOSITORY
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
LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle"
BUNDLES = [
    {"name": "dags-folder", "classpath": LOCAL, "kwargs": {}},
    {"name": "tests", "classpath": LOCAL, "kwargs": {"path": str(REPOSITORY / "tests" / "stack" / "dags")}},
]
"""Beside the shipped DAGs, that of somebody who uses what they make."""


@pytest.fixture(scope="package")
def stack():
    """A stack with every part at work; a test that breaks it waits until it is whole again."""
    new = new_stack()
    overrides = OVERRIDES | {"dag_processor.dag_bundle_config_list": json.dumps(BUNDLES)}
    new.more = {
        "DARKROOM_DAILY": json.dumps(DAILY),
        "DARKROOM_AIRFLOW_OVERRIDES": json.dumps(overrides),
        "DARKROOM_CALLBACK_HOSTS": json.dumps(["127.0.0.1"]),
    }
    with running(new) as started:
        yield started
