"""Settings that must stand before anything imports Airflow or reads the environment; what runs where."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
_HOME = tempfile.mkdtemp(prefix="darkroom-test-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ |= {
    "AIRFLOW_HOME": f"{_HOME}/airflow",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
    "DARKROOM_HOME": f"{_HOME}/darkroom",
    "DARKROOM_CONFIG": os.devnull,  # not the stages and flows of whoever runs the tests
}


@pytest.hookimpl(optionalhook=True)  # where models are tested alone, pytest-xdist is not installed
def pytest_xdist_make_scheduler(config, log):
    """With `-n`: the tests of the shared stack go to one process, the others to any, file by file."""
    from xdist.scheduler import LoadScopeScheduling

    class OneStack(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/stack" if nodeid.startswith("tests/stack/") else nodeid.partition("::")[0]

    return OneStack(config, log)
