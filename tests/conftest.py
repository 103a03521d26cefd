"""Settings that must stand before anything imports Airflow or reads the environment."""

import os
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_HOME = tempfile.mkdtemp(prefix="darkroom-test-")
os.environ.setdefault("AIRFLOW_HOME", f"{_HOME}/airflow")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(REPOSITORY / "dags")
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ.setdefault("DARKROOM_HOME", f"{_HOME}/darkroom")
