"""The stack's secrets: generated once, kept in one private file, never printed into a log."""

import base64
import json
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from darkroom.stack.home import write_private

ADMIN = "admin"
"""The one user of the UI, with Airflow's admin role."""


def _token() -> str:
    return secrets.token_urlsafe(24)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True, slots=True)
class Credentials:
    """Each is made of characters that need no quoting, in a URL or in a configuration file."""

    postgres_password: str = field(default_factory=_token, repr=False)
    valkey_password: str = field(default_factory=_token, repr=False)
    fernet_key: str = field(default_factory=_fernet_key, repr=False)
    jwt_secret: str = field(default_factory=lambda: secrets.token_urlsafe(64), repr=False)
    """Longer than HS512 wants, else PyJWT warns at every token."""
    api_secret_key: str = field(default_factory=_token, repr=False)
    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    metrics_token: str = field(default_factory=_token, repr=False)
    """For a Prometheus: it may read `/darkroom/metrics`, and nothing else."""

    @classmethod
    def load_or_create(cls, path: Path) -> "Credentials":
        """Those in `path`; what is missing there is generated and written back."""
        kept = json.loads(path.read_text()) if path.exists() else {}
        known = {f.name for f in fields(cls)}
        credentials = cls(**{key: value for key, value in kept.items() if key in known})
        if asdict(credentials) != kept:
            write_private(path, json.dumps(asdict(credentials), indent=1))
        return credentials
