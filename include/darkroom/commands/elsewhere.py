"""A plant that only HTTP leads to: Airflow's API v2, and Darkroom's own routes beside it."""

import getpass
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from darkroom.days import Daily
from darkroom.errors import BadRequest, NoSuchBatch
from darkroom.rest.api import AirflowApi, ride_out
from darkroom.results.summary import Summary
from darkroom.settings import settings
from darkroom.views.looking import Steering
from darkroom.views.outlook import Outlook
from darkroom.views.sight import Sight

LOOK_EVERY_S = 2.0
"""Each look is work for the api-server."""


def is_elsewhere() -> bool:
    """Whether the settings lead to a plant by its API's address alone, without its Redis."""
    here = settings()
    return bool(here.api_url) and not here.redis_url.get_secret_value()


@cache
def session() -> AirflowApi:
    """The session with that plant's API, one for the whole command.

    Raises:
        BadRequest: nobody says who asks, or it would be said where anybody can listen.
    """
    here = settings()
    url = here.api_url.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest(f"DARKROOM_API_URL {url!r}: an address such as https://plant.example.org")
    if parts.scheme == "http" and not _is_loopback(parts.hostname) and not here.api_plain_http:
        raise BadRequest(
            f"DARKROOM_API_URL {url}: over http:// anybody on the way can read the token; use https://, "
            "a tunnel to loopback (ssh -L), or, in a network that you trust, DARKROOM_API_PLAIN_HTTP=true"
        )
    token, password = here.api_token.get_secret_value(), here.api_password.get_secret_value()
    if not token and not password:
        if not sys.stdin.isatty():
            raise BadRequest(
                "who asks? Set DARKROOM_API_TOKEN, or DARKROOM_API_USER and DARKROOM_API_PASSWORD"
            )
        password = getpass.getpass(f"password of {here.api_user} at {url}: ")
    return AirflowApi(url, here.api_user, password, token=token, trust_env=not _is_loopback(parts.hostname))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Elsewhere:
    """Such a plant, as `plants.Plant` has it."""

    api: AirflowApi
    look_every_s: float = LOOK_EVERY_S

    def admit(
        self, source: str, flow: str, options: dict[str, Any], force: bool, callback_url: str | None = None
    ) -> str:
        """Ask the plant whether it would take a batch of this source now."""
        try:
            wanted = {"source": source, "flow": flow, "force": force, "callback_url": callback_url}
            if options:
                wanted["options"] = options
            self.api.darkroom("POST", "/api/batches/check", wanted)
        except BadRequest as error:
            if Path(source).exists():
                raise BadRequest(
                    f"{error}. {source} is on this machine, and nothing is uploaded: a source is a path as "
                    "the plant sees it, or an object in a store, such as s3://bucket/prompts.jsonl"
                ) from error
            raise
        return source

    def request(self, batch_id: str) -> dict[str, Any] | None:
        """What was asked for under a name."""
        try:
            return dict(self.api.darkroom("GET", f"{_path(batch_id)}/request"))
        except NoSuchBatch:
            return None

    def sight(self, batch_id: str) -> Sight:
        """All there is to say of a batch."""
        return Sight.read(self.api.darkroom("GET", _path(batch_id)))

    @ride_out
    def look(self, batch_id: str, run_id: str, flow: str) -> tuple[str, Outlook]:
        """The state of its newest run, which is the one that is watched, and its numbers."""
        seen = self.sight(batch_id)
        return seen.run_state, seen.outlook

    def wish(self, batch_id: str, state: Steering) -> None:
        """Have its chunks told."""
        self.api.darkroom("PUT", f"{_path(batch_id)}/wish", {"state": state})

    def file(self, summary: Summary, name: str) -> Iterator[bytes]:
        """By the route that the contact sheet's page leads to."""
        batch_id = quote(summary.batch_id, safe="")
        return self.api.download(f"/batches/{batch_id}/files/{name}?generation={summary.generation}")

    def daily(self) -> Daily:
        """What it runs every day."""
        return Daily(**self.api.darkroom("GET", "/api/daily"))

    def places(self, summary: Summary) -> list[str]:
        """The page with the contact sheet; it leads to the files."""
        return [f"{self.api.url}/darkroom/batches/{quote(summary.batch_id, safe='')}"]


def _path(batch_id: str) -> str:
    return f"/api/batches/{quote(batch_id, safe='')}"
