"""Airflow's settings: each with its value on a laptop, its value in a fleet, and the reason.

docs/settings.md is made from this (`make docs`). Everything else is Airflow's default.
"""
# ruff: noqa: E501  (a table reads best with one row a line)

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Literal

from darkroom.errors import BadRequest

Profile = Literal["laptop", "fleet"]
OVERRIDES_ENV = "DARKROOM_AIRFLOW_OVERRIDES"
"""JSON, `{"section.key": "value"}`: single options that shall be otherwise."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One option of Airflow's; `$name` in a value is filled in at the start."""

    section: str
    key: str
    laptop: str
    fleet: str | None
    """None: the deployment gives it (its own addresses and secrets)."""
    why: str
    secret: bool = False
    """Only for the processes that need it; never for a GPU host."""

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"AIRFLOW__{self.section.upper()}__{self.key.upper()}"


SETTINGS = tuple(Setting(*row) for row in (
    ("core", "executor", "CeleryExecutor", "CeleryExecutor", "the same executor everywhere: queues bind tasks to GPU hosts"),
    ("core", "dags_folder", "$repository/dags", None, "the DAGs of this checkout"),
    ("core", "plugins_folder", "$repository/plugins", None, "web view, API and priorities of this checkout"),
    ("core", "load_examples", "False", "False", "example DAGs are not ours, and each costs parsing"),
    ("core", "dags_are_paused_at_creation", "False", "False", "a plant that was just started takes work at once"),
    ("core", "hostname_callable", "socket.gethostname", "socket.gethostname", "the default asks DNS, which on a laptop off line takes seconds per task"),
    ("core", "parallelism", "64", "512", "counts everything queued or running in a scheduler; must exceed the sum of all pools, or nothing interactive starts"),
    ("core", "max_active_tasks_per_dag", "64", "512", "default 16 per run: 20 lanes would starve"),
    ("core", "max_active_runs_per_dag", "64", "256", "default 16: many small batches and the shards of large ones run side by side"),
    ("core", "min_serialized_dag_update_interval", "1", "30", "an edited DAG shows at once where it is edited"),
    ("core", "simple_auth_manager_users", "admin:admin", None, "laptop: one user with a generated password; the simple auth manager is for development, a fleet uses FAB or Keycloak"),
    ("core", "simple_auth_manager_passwords_file", "$airflow_home/passwords.json", None, "written at the start, so that Airflow generates and logs none"),
    ("core", "execution_api_server_url", "$api_url/execution/", None, "workers reach the metadata only through this API: no database password on GPU hosts"),
    ("core", "fernet_key", "$fernet_key", None, "generated; encrypts connections in the database", True),
    ("database", "sql_alchemy_conn", "$postgres_url", None, "PostgreSQL, password generated; workers don't get it", True),
    ("database", "sql_alchemy_pool_size", "5", "10", "four processes with 5 + 10 stay below PostgreSQL's max_connections of 100"),
    ("database", "max_db_retries", "10", "10", "default 3: rides out a restart of PostgreSQL more often"),
    ("scheduler", "scheduler_idle_sleep_time", "0.1", "0.2", "every hop of a run waits for the loop: two hops 3 s with the default 1, 1.4 s with 0.1"),
    ("scheduler", "max_tis_per_query", "64", "256", "default 16 task instances a loop: a fleet's lanes would fill up slowly"),
    ("scheduler", "max_dagruns_per_loop_to_schedule", "64", "128", "default 20: with more active runs than that, some wait a whole loop"),
    ("scheduler", "task_instance_heartbeat_timeout", "60", "60", "default 300: work of a killed worker starts again within about a minute"),
    ("scheduler", "task_instance_heartbeat_timeout_detection_interval", "5", "10", "how often that is looked for"),
    ("scheduler", "task_queued_timeout", "180", "180", "pools hand out only what can start at once, so what stays queued for minutes was lost in the broker (default 600)"),
    ("scheduler", "task_queued_timeout_check_interval", "15", "30", "default 120"),
    ("scheduler", "orphaned_tasks_check_interval", "60", "120", "default 300: adopts the tasks of a scheduler that died"),
    ("workers", "min_heartbeat_interval", "1", "2", "a finished task holds its slot up to this long (default 5); one API write a second and running task, too many for thousands"),
    ("workers", "max_failed_heartbeats", "60", "60", "default 3: an api-server that restarts (20 s) would kill every running task"),
    ("workers", "execution_api_retries", "10", "10", "default 5: a task outlives a restart of the api-server"),
    ("workers", "execution_api_retry_wait_max", "10", "30", "default 90: goes on soon after the api-server is back"),
    ("workers", "execution_api_timeout", "15", "15", "default 5: a loaded machine answers late, and that is no failure"),
    ("celery", "broker_url", "$broker_url", None, "Valkey, password generated"),
    ("celery", "result_backend", "$result_backend", None, "Valkey instead of PostgreSQL: no database password on GPU hosts"),
    ("celery", "extra_celery_config", '{"result_expires": 86400}', '{"result_expires": 86400}', "results of tasks, in Valkey, go after a day: nobody reads them later"),
    ("celery", "worker_concurrency", "4", "8", "of the worker for light work; a GPU worker has as many slots as lanes"),
    ("celery", "sync_parallelism", "1", "1", "the default starts a pool of processes at every executor heartbeat with more than one task to send"),
    ("celery", "operation_timeout", "5", "5", "default 1: on a loaded machine sending a task takes longer, and it would count as not sent"),
    ("celery_broker_transport_options", "visibility_timeout", "86400", "86400", "the default, said aloud: a chunk must be far shorter, or the broker would hand it out twice"),
    ("dag_processor", "refresh_interval", "5", "60", "default 300: a new DAG file shows within seconds where DAGs are written"),
    ("dag_processor", "min_file_process_interval", "120", "300", "default 30: so often DAG files are parsed again that have not changed, which costs CPU; one that has changed is parsed at once"),
    ("dag_processor", "parsing_processes", "1", "2", "a handful of DAG files"),
    ("dag_processor", "stale_bundle_cleanup_interval", "0", "0", "local bundles have no versions to clean up; saves a process per worker"),
    ("dag_processor", "print_stats_interval", "600", "300", "keeps the log readable"),
    ("api", "host", "127.0.0.1", None, "laptop: nobody else reaches it"),
    ("api", "port", "$api_port", None, "8080, or the next free one"),
    ("api", "base_url", "$api_url", None, "links in the UI and in callbacks"),
    ("api", "workers", "1", "2", "each is a process of some 300 MB"),
    ("api", "instance_name", "Darkroom", "Darkroom", "title of the UI"),
    ("api", "secret_key", "$api_secret_key", None, "generated; signs sessions", True),
    ("api_auth", "jwt_secret", "$jwt_secret", None, "generated, and shared by api-server, scheduler, triggerer and dag-processor, which sign for one another", True),
    ("logging", "colored_console_log", "False", "False", "the logs are files"),
    ("logging", "uvicorn_logging_level", "WARNING", "WARNING", "it has nothing to say that Airflow does not"),
    ("logging", "namespace_levels", "http.access=WARNING", "http.access=WARNING", "else every heartbeat of every task is a line in the api-server's log"),
))  # fmt: skip


def environ(profile: Profile, values: Mapping[str, str], *, with_secrets: bool) -> dict[str, str]:
    """Airflow's environment variables.

    Args:
        profile: which column; what the deployment gives is left out of `fleet`.
        values: what `$name` stands for.
        with_secrets: False for workers: they need neither the database nor a signing key.
    """
    found = {
        setting.variable: Template(value).substitute(values)
        for setting in SETTINGS
        if (value := setting.laptop if profile == "laptop" else setting.fleet) is not None
        and (with_secrets or not setting.secret)
    }
    return found | overrides()


def overrides() -> dict[str, str]:
    """What `DARKROOM_AIRFLOW_OVERRIDES` changes, as environment variables.

    Raises:
        BadRequest: it is not a JSON object of `section.key`.
    """
    text = os.environ.get(OVERRIDES_ENV) or "{}"
    try:
        pairs = [(*option.rsplit(".", 1), value) for option, value in json.loads(text).items()]
        return {
            f"AIRFLOW__{section.upper()}__{key.upper()}": value
            if isinstance(value, str)
            else json.dumps(value)
            for section, key, value in pairs
        }
    except (ValueError, AttributeError) as error:
        raise BadRequest(f'{OVERRIDES_ENV} is not {{"section.key": "value"}}: {text!r}') from error
