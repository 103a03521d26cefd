"""Darkroom's own settings, from the environment (`DARKROOM_...`); Airflow's are in `stack/`."""

from functools import cache
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parents[2]


class Settings(BaseSettings):
    """Each field is an environment variable: `home` is `DARKROOM_HOME`. Lists are JSON."""

    model_config = SettingsConfigDict(env_prefix="DARKROOM_")

    home: Path = REPOSITORY / ".darkroom"
    """State of the embedded stack: data, logs, secrets, and by default the store."""
    store: str = ""
    """URL of the object store: file, s3, gs, az. Default: `file://{home}/store`."""
    source_roots: list[str] = [str(REPOSITORY / "examples"), str(REPOSITORY / "inputs")]
    """Only sources under these are read."""
    models: Path = REPOSITORY / "models"
    """Where the weights that ship with us lie."""
    redis_url: SecretStr = SecretStr("")
    """Live progress. Empty: none is kept."""
    server_url: str = ""
    """The model server that this worker's lanes feed."""
    host: str = ""
    """The name of this host in results; default: its host name."""
    min_chunk_s: float = 10.0
    """A chunk shorter than this costs more to schedule than to run."""
    max_chunk_s: float = 900.0
    """A chunk longer than this is lost too expensively with its host."""
    server_grace_s: float = 90.0
    """How long a chunk waits for a server that is restarting before it gives way."""

    @property
    def store_url(self) -> str:
        """The store's URL with the default applied."""
        return self.store or (self.home / "store").as_uri()


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
