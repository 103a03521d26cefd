"""Darkroom's own settings, from the environment and `darkroom.toml`; Airflow's are in `stack/`."""

import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from darkroom.days import Daily
from darkroom.errors import BadRequest
from darkroom.paging import Paged
from darkroom.retention.limits import Housekeeping
from darkroom.routes import Route, RouteName

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG_ENV = "DARKROOM_CONFIG"


def config_file() -> Path:
    """Where settings and the user's own stages and flows are read from, beside the environment."""
    return Path(os.environ.get(CONFIG_ENV) or REPOSITORY / "darkroom.toml").expanduser().absolute()


class Settings(BaseSettings):
    """Each field is an environment variable: `home` is `DARKROOM_HOME`; lists and tables are JSON.

    The same names, in lower case and without the prefix, may stand in `darkroom.toml`; the environment wins.
    """

    model_config = SettingsConfigDict(
        env_prefix="DARKROOM_", env_ignore_empty=True, use_attribute_docstrings=True
    )

    home: Path = REPOSITORY / ".darkroom"
    """State of the embedded stack: data, logs, secrets, and by default the store."""
    store: str = ""
    """URL of the object store: file, s3, gs, az. Default: `file://{home}/store`."""
    source_roots: list[str] = [str(REPOSITORY / "examples"), str(REPOSITORY / "inputs")]
    """Only sources under these are read; relative ones are below the repository."""
    models: Path = REPOSITORY / "models"
    """Where the weights that ship with us lie."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of one inference; more can change the last bits of a sum, so keep it equal over a fleet."""
    noop_ms: float = Field(default=0.0, ge=0)
    """How long the benchmarks' no-op stage pretends to work on one item."""
    redis_url: SecretStr = SecretStr("")
    """Live progress, and which servers are there. Empty: none is kept."""
    broker_url: SecretStr = SecretStr("")
    """A GPU host's way to the plant: Celery's queues. `darkroom env --for-worker` writes these for it."""
    result_url: SecretStr = SecretStr("")
    """A GPU host's way to the plant: Celery's results."""
    log_folder: str = ""
    """Where such a host writes the logs of tasks, if it shares a folder with the plant's api-server; default:
    a folder of its own, which the UI does not see."""
    api_url: str = ""
    """Address of Airflow's API, such as `http://127.0.0.1:8080`; default: the plant on this machine. Without
    `redis_url` beside it, `submit`, `watch` and their like reach that plant by HTTP alone, from anywhere."""
    api_token: SecretStr = SecretStr("")
    """Who asks that plant, as `POST /auth/token` gives it: instead of user and password."""
    api_user: str = "admin"
    """Who asks, and who changes the pools."""
    api_password: SecretStr = SecretStr("")
    """The password of that user; without it and a token, commands ask for it at a terminal."""
    api_plain_http: bool = False
    """Let commands send a token or password over `http://` to another machine, where anybody can read it."""
    light_slots: int = Field(default=3, ge=1)
    """Tasks without a model that run at once, those of interactive runs apart: the size of the pool `light`
    when it is made, one less than the worker for them has slots."""
    schedulers: int = Field(default=1, ge=1, le=8)
    """Airflow's schedulers on the plant's machine, side by side: one that dies is missed by nobody."""
    triggerers: int = Field(default=1, ge=1, le=8)
    """Its triggerers: what one of them watched, the others take over."""
    device_memory_mb: int = Field(default=0, ge=0)
    """How much of a device's memory servers may take together; default: all of it."""
    server_urls: dict[str, str | list[str]] = {}
    """The model server that this worker's lanes feed, by stage: `{"generate": "http://127.0.0.1:8101"}`;
    or a list of some, of which a chunk takes one that is ready."""
    server_status: str = ""
    """The status file of that server, written by its supervisor; empty: it has none."""
    host: str = ""
    """The name of this host in results; default: its host name."""
    log_format: Literal["text", "json"] = "text"
    """`json`: every process writes its log as a JSON object a line, and a task's lines name batch, chunk,
    stage, host, try, and the item that failed."""
    metrics_token: SecretStr = SecretStr("")
    """Who has it may read `/darkroom/metrics`, as Prometheus does; default: generated with the plant. Users
    of Airflow who may see `image_flow` may, too. docs/how-to/monitor.md"""
    otlp_endpoint: str = ""
    """An OpenTelemetry collector, such as `http://127.0.0.1:4318`: it gets Airflow's own metrics, and a trace
    of each batch."""
    statsd: str = ""
    """A StatsD server, such as `127.0.0.1:8125`: it gets Airflow's own metrics with Datadog's tags, and the
    `otlp_endpoint` then only the traces."""
    sentry_dsn: SecretStr = SecretStr("")
    """A Sentry project: it gets the errors of tasks, where in the code they are and of which batch, but no
    text of an item and no message."""
    stages: dict[str, dict[str, Any]] = {}
    """Your own stages, and changes to those that ship with us: see docs/how-to/bring-a-model.md."""
    flows: dict[str, dict[str, Any]] = {}
    """Your own flows: `[flows.A_S]` with `summary` and `stages` in darkroom.toml."""
    code: Path = REPOSITORY / "custom"
    """The folder of your own stages' modules."""
    implementations: dict[str, str] = {}
    """Another class for a stage than its table row names, by stage: `{"generate": "module:Class"}`."""
    server_python: str = ""
    """The interpreter of the model servers, such as `.venv-gpu/bin/python`; default: the plant's own."""
    canary_every_s: float = Field(default=10.0, gt=0)
    """How often a supervisor has its server run its stage's sample."""
    trace: str = ""
    """A folder for `[begin, end, items]` of every batch that a model server runs; empty: none."""
    min_chunk_s: float = 5.0
    """A chunk that an average server ends sooner than this costs more to schedule than to run."""
    max_chunk_s: float = 900.0
    """A chunk that takes an average server longer than this is lost too expensively with its host; less where
    `chunk_timeout_s` of a stage asks for it: a machine five times slower than the average ends in time."""
    shard_chunks: int = Field(default=256, ge=1)
    """Chunks in one run, at most; of a flow of several stages eight for each server, or 16 if that is more. A
    batch of more becomes several runs. Many in one run slow the scheduler, for all runs."""
    max_backlog_hours: float = Field(default=240.0, ge=0)
    """While more work than this waits, no more is taken on unless somebody insists; 0: no limit."""
    callback_hosts: list[str] = []
    """Who may be told of a batch's end: hosts (`hooks.example.com`, `*.example.com`); private addresses only
    where they, or their network, are named too (`10.1.2.0/24`). Empty: nobody. docs/how-to/callbacks.md"""
    server_grace_s: float = 90.0
    """How long a chunk waits for a server that is restarting before it gives way."""

    pages: dict[str, Paged] = {}
    """The HTTP APIs whose pages may be a source: the tables `[pages.<name>]`, see
    docs/how-to/paged-sources.md."""
    pages_at_once: int = Field(default=2, ge=1)
    """So many pages of one batch are fetched side by side; each takes one of the `light_slots`."""
    daily: Daily | None = None
    """What `daily_flow` runs every day: the table `[daily]`, see docs/how-to/schedule.md. Without it,
    nothing."""

    housekeeping: Housekeeping = Housekeeping()
    """What the plant keeps and for how long: the table `[housekeeping]`, see docs/how-to/operate.md."""
    metadata_url: SecretStr = SecretStr("")
    """Airflow's database, for the triggerer alone: it has it cleaned by `airflow db clean`."""

    then: dict[RouteName, Route] = {}
    """Functions of yours that say where items go on to when a batch has ended: the tables `[then.<name>]`,
    see docs/how-to/branch-on-results.md."""

    @field_validator("then")
    @classmethod
    def _daily_goes_where_there_is_a_way(
        cls, then: dict[str, Route], info: ValidationInfo
    ) -> dict[str, Route]:
        daily = info.data.get("daily")
        if daily and daily.then and daily.then not in then:
            raise ValueError(f"daily.then is {daily.then!r}, and there is no table [then.{daily.then}]")
        return then

    @field_validator("home")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config_file())

    @field_validator("server_python")
    @classmethod
    def _python_from_the_repository(cls, python: str) -> str:
        # Not resolved: following the link would lead out of the virtual environment.
        return str(REPOSITORY / Path(python).expanduser()) if python else ""

    @field_validator("models", "code")
    @classmethod
    def _from_the_repository(cls, path: Path) -> Path:
        return REPOSITORY / path.expanduser()

    @field_validator("source_roots")
    @classmethod
    def _roots_from_the_repository(cls, roots: list[str]) -> list[str]:
        # Processes of the plant have other working folders than a person at the terminal.
        return [root if "://" in root else str(REPOSITORY / Path(root).expanduser()) for root in roots]

    @property
    def store_url(self) -> str:
        """The store's URL with the default applied."""
        return self.store or (self.home / "store").as_uri()

    @property
    def input_roots(self) -> list[str]:
        """The source roots, and where the warm-up's own items lie."""
        return [*self.source_roots, str(self.home / "warm-up")]

    @property
    def drain_marker(self) -> Path:
        """While this file exists, chunks on this host stop at the next item boundary and are put back."""
        return self.home / "drain"


@cache
def settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        BadRequest: a setting is wrong; the message names it and where it stands.
    """
    if os.environ.get(CONFIG_ENV) and not config_file().exists():
        raise BadRequest(f"{CONFIG_ENV}: there is no file {config_file()}")
    try:
        return Settings()
    except tomllib.TOMLDecodeError as error:
        raise BadRequest(f"{config_file()} is not TOML: {error}") from error
    except (ValidationError, SettingsError) as error:
        raise BadRequest(f"settings (DARKROOM_... or {config_file()}): {_first(error)}") from error


def _first(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):
        return str(error)
    detail = error.errors(include_url=False, include_input=False)[0]
    what = "there is no such setting" if detail["type"] == "extra_forbidden" else detail["msg"]
    return f"{'.'.join(map(str, detail['loc']))}: {what}"
