"""A session with an api-server: Airflow's REST API v2, and Darkroom's own routes beside it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from darkroom.errors import BadRequest, DarkroomError, NoSuchBatch, NotAllowed, PlantAway


class RunExists(BadRequest):
    """A run of that name was started before."""

    code = "run_exists"


class ApiError(PlantAway):
    """Airflow's API does not answer, or not as documented."""

    code = "api_error"


_REFUSALS: dict[int, type[DarkroomError]] = {401: NotAllowed, 403: NotAllowed, 404: NoSuchBatch}


@dataclass
class AirflowSession:
    """A session with the API: by a token, or logs in when it must, again when its token has run out."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    """Instead of user and password."""
    trust_env: bool = False
    """Whether the environment's proxies and certificates count, which the plant's own loopback needs not."""
    _http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=self.trust_env)

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """What Airflow's API answers.

        Raises:
            BadRequest: it refuses; RunExists, if for the name of a run.
            ApiError: it does not answer.
        """
        answer = self._request(method, path, **arguments)
        if answer.status_code == httpx.codes.CONFLICT and "dag_run_id" in arguments.get("json", {}):
            raise RunExists(f"exists already: {arguments['json']['dag_run_id']}")
        if answer.is_client_error:
            raise BadRequest(f"Airflow refused: {_detail(answer)}")
        return self._read(answer)

    def darkroom(self, method: str, path: str, json: dict[str, Any] | None = None) -> Any:
        """What Darkroom's own routes in the api-server answer.

        Raises:
            NoSuchBatch: there is none of that name.
            BadRequest: it can't be done; in the plant's own words.
            ApiError: the plant does not answer, or a part of it does not.
        """
        answer = self._request(method, f"/darkroom{path}", json=json)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NoSuchBatch(_detail(answer))
        if answer.is_client_error:
            raise BadRequest(_detail(answer))
        return self._read(answer)

    def download(self, path: str) -> Iterator[bytes]:
        """A file from Darkroom's own routes, piece by piece.

        Raises:
            NoSuchBatch: there is none of that name, or it has no such file yet.
            ApiError: the plant does not answer, or breaks off.
        """
        try:
            if "Authorization" not in self._http.headers:
                self._log_in()
            with self._http.stream("GET", f"/darkroom{path}") as answer:
                if answer.is_error:
                    answer.read()
                    raise _REFUSALS.get(answer.status_code, ApiError)(_detail(answer))
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise self._silent(error) from error

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **arguments)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                self._log_in()
                answer = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise self._silent(error) from error
        if answer.status_code == httpx.codes.FORBIDDEN:
            who = "this token" if self.token else self.user
            raise NotAllowed(f"Airflow at {self.url} does not let {who} do that: {_detail(answer)}")
        return answer

    def _read(self, answer: httpx.Response) -> Any:
        if answer.is_error:
            raise ApiError(f"Airflow's API answered {answer.status_code}: {_detail(answer)}")
        try:
            return answer.json()
        except ValueError:
            raise ApiError(f"{self.url} answered no JSON; is it the address of an Airflow?") from None

    def _silent(self, error: httpx.TransportError) -> ApiError:
        return ApiError(
            f"Airflow's API at {self.url} does not answer ({error}); is the plant up? See: darkroom status"
        )

    def _log_in(self) -> None:
        if not self.password:
            raise NotAllowed(
                f"{self.url} refuses the token: it has run out, or is another plant's; "
                f"a new one: POST {self.url}/auth/token"
            )
        answer = self._http.post("/auth/token", json={"username": self.user, "password": self.password})
        if answer.is_client_error:
            raise NotAllowed(
                f"log-in as {self.user} at {self.url} refused ({answer.status_code}); is that another plant?"
            )
        self._http.headers["Authorization"] = f"Bearer {self._read(answer)['access_token']}"


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return answer.text[:500]
    text = detail if isinstance(detail, str) else str(detail)[:500]
    return text.partition("\n\n")[0]  # what follows is the JSON Schema and the whole conf
