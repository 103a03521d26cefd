"""The entry point of the image, run as a process."""

import json
import os
import subprocess
import sys

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def enter(*command, **settings):
    env = {key: value for key, value in os.environ.items() if not key.startswith("DARKROOM_")}
    entry = [sys.executable, "-m", "darkroom.stack.container"]
    told = {f"DARKROOM_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [*entry, *command], env=env | told, capture_output=True, text=True, check=False, timeout=60
    )


def found(**settings):
    return json.loads(enter(sys.executable, "-c", SHOW, **settings).stdout)


def test_a_setting_of_ours_becomes_airflows_own_before_the_command_runs():
    env = found(log_format="json", statsd="statsd.local", airflow_overrides="")
    assert env["AIRFLOW__LOGGING__JSON_LOGS"] == "True"
    assert env["AIRFLOW__METRICS__STATSD_HOST"] == "statsd.local"
    assert "AIRFLOW__SENTRY__SENTRY_ON" not in env


def test_a_list_among_the_options_is_json_for_airflow():
    bundles = [{"name": "dags-folder", "kwargs": {"subdir": "dags"}}]
    overrides = {"dag_processor.dag_bundle_config_list": bundles, "api.expose_config": False}
    env = found(airflow_overrides=json.dumps(overrides))
    assert json.loads(env["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"]) == bundles
    assert env["AIRFLOW__API__EXPOSE_CONFIG"] == "false"


def test_the_commands_exit_code_is_the_containers():
    assert enter("sh", "-c", "exit 7").returncode == 7


def test_a_wrong_setting_is_named_and_nothing_starts():
    done = enter("echo", "started", otlp_endpoint="collector:4317")
    assert done.returncode == 1
    assert "otlp_endpoint" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
