"""Settings that must stand before anything imports Airflow or reads the environment."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

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
