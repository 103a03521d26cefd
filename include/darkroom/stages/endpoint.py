"""A stage that is somebody's HTTP endpoint: in the OpenAI Images shape, or pictures as plain bodies.

The contract, with examples, is in docs/how-to/use-an-http-endpoint.md.
"""

import logging
import os
import ssl
import time
from typing import Annotated, Any, Literal

import httpx
from pydantic import Field, field_validator
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from darkroom.errors import BadRequest, InvalidItem, ItemError, StageFailed
from darkroom.stages.answers import MAX_MESSAGE, Answer, read_body, retry_after_s, understand, words_of
from darkroom.stages.base import Output, Request
from darkroom.stages.batch import run_each
from darkroom.stages.config import Config, parse_config
from darkroom.stages.decode import format_of
from darkroom.stages.noop import PNG
from darkroom.stages.options import EndpointOptions, parse_as

SAMPLE_SIDE = 256
_SHORTEST_WAIT_S, _FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 0.5, 30.0
_BUSY = frozenset({408, 425, 429, 503})
_OURS = frozenset({401, 403, 404, 405, 407})
"""Client errors that are no item's fault: the token or the address is wrong, for every item."""
_RESERVED = frozenset(
    {"prompt", "n", "size", "response_format", "model", "seed", "width", "height", "stream"}
)

log = logging.getLogger(__name__)


class EndpointConfig(Config):
    """What `[stages.<name>.config]` may say."""

    url: str
    """Where items are posted to; http or https."""
    token_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """The environment variable that holds the bearer token; the token itself has no place in a table."""
    model: str | None = None
    """Sent as `model`, where the endpoint serves several."""
    timeout_s: Annotated[float, Field(gt=0, le=3600, strict=False)] = 120
    """For one item with all waiting; keep the row's `deadline_s` above it."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 4
    """Requests at once, from one server."""
    canary: Literal["look", "item"] = "look"
    """look: GET the address, which draws nothing; item: a small real one, every few seconds."""
    health_url: str | None = None
    """What `look` asks instead of `url`; must answer 2xx."""
    takes: Literal["prompt", "image"] = "prompt"
    """What the canary sends as an item."""
    proxy: str | None = None
    ca_file: str | None = None
    """Certificates to trust instead of the public ones, as PEM."""

    @field_validator("url", "health_url", "proxy")
    @classmethod
    def _plain_http(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{error}; give http://... or https://...") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError("give http://... or https://...")
        if parsed.userinfo:
            raise ValueError("no user or password in an address; use token_env")
        return url


class _Busy(Exception):
    """It may work in a moment."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Endpoint:
    """Prompts or pictures to whatever an endpoint makes of them: pictures or verdicts.

    Nothing of the environment changes where a request goes: no proxy variables, no `.netrc`.
    """

    def __init__(self, **config: Any) -> None:
        """Check the configuration; nothing is sent yet.

        Args:
            config: as `EndpointConfig`.

        Raises:
            ValueError: a keyword is unknown or wrong; the message names it and what is allowed.
        """
        self.config = parse_config(EndpointConfig, config)
        self._canary = self._make_canary()

    def load(self) -> None:
        """Read the token and prepare the connections.

        Raises:
            BadRequest: the token's variable is not set, or the certificates can't be read.
        """
        url = httpx.URL(self.config.url)
        self.device = f"endpoint {url.netloc.decode()}"
        headers = {"Accept": "image/png, image/*, application/json"}
        if self.config.token_env:
            headers["Authorization"] = f"Bearer {_read_token(self.config.token_env)}"
            if url.scheme == "http" and url.host not in ("localhost", "127.0.0.1", "[::1]"):
                log.warning("the token goes to %s unencrypted; use https", url.host)
        try:
            verify = ssl.create_default_context(cafile=self.config.ca_file) if self.config.ca_file else True
        except OSError as error:
            raise BadRequest(f"config.ca_file: can't read {self.config.ca_file}: {error}") from error
        self._http = httpx.Client(
            headers=headers,
            timeout=self.config.timeout_s,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=self.config.concurrency),
            # A redirect would carry prompts, pictures and perhaps the token to where nobody decided.
            follow_redirects=False,
            trust_env=False,
            proxy=self.config.proxy,
            verify=verify,
        )

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """The endpoint's answers; the items are sent `concurrency` at a time.

        `details`: `request_id` and `revised_prompt`, where the endpoint gives them.
        """
        return run_each(batch, self._run_one, self.config.concurrency)

    def sample(self) -> Request:
        """What stands for a look at the address, or a small real item: see `canary`."""
        return self._canary

    def _make_canary(self) -> Request:
        if self.config.takes == "image":
            return Request("canary", image=PNG)
        return Request(
            "canary", prompt="a red circle on a white background", width=SAMPLE_SIDE, height=SAMPLE_SIDE
        )

    def _run_one(self, request: Request) -> Output:
        # By identity: a user's item may be called canary too.
        if request is self._canary and self.config.canary == "look":
            return self._look()
        options = parse_as(EndpointOptions, request.options)
        if wrong := sorted(_RESERVED & options.fields.keys()):
            raise InvalidItem(f"options.fields.{wrong[0]}: Darkroom itself sends it")
        if request.image:
            sent = self._picture(request, options)
        elif request.prompt:
            sent = self._prompt(request, options)
        else:
            raise InvalidItem("prompt, image: an endpoint needs one of them")
        return understand(self._send("POST", self.config.url, sent))

    def _prompt(self, request: Request, options: EndpointOptions) -> dict[str, Any]:
        """The fields of OpenAI's `images/generations`, a seed, and what the options add."""
        width, height = request.width or request.height, request.height or request.width
        size = {"size": f"{width}x{height}"} if width else {}
        model = {"model": self.config.model} if self.config.model else {}
        fixed = {"prompt": request.prompt, "n": 1, "response_format": "b64_json", "seed": request.seed}
        return {"json": {**fixed, **size, **model, **options.fields}}

    def _picture(self, request: Request, options: EndpointOptions) -> dict[str, Any]:
        """The picture as it is as the body, everything else in the query."""
        kind = format_of(request.image).lower()
        known: dict[str, Any] = {"prompt": request.prompt, "model": self.config.model}
        # No seed: it is no part of the key of what is made from a picture.
        known |= {"width": request.width, "height": request.height}
        query = {name: value for name, value in known.items() if value is not None}
        return {
            "content": request.image,
            "headers": {"Content-Type": f"image/{kind}"},
            "params": httpx.URL(self.config.url).params.merge({**query, **options.fields}),
        }

    def _look(self) -> Output:
        """Whether somebody is there who knows our token; an address for POST may refuse a GET."""
        url = self.config.health_url or self.config.url
        try:
            with self._http.stream("GET", url) as response:
                body = read_body(response, time.monotonic() + self.config.timeout_s)
        except httpx.TransportError as error:
            raise StageFailed(f"the endpoint can't be reached: {_name(error)}") from error
        status = response.status_code
        refuses_get = self.config.health_url is None and 400 <= status < 500  # noqa: PLR2004
        if status in (401, 403, 407, 429) or not (response.is_success or refuses_get):
            raise StageFailed(f"the endpoint answers {status} {words_of(body)}")
        return Output(details={"status": status})

    def _send(self, method: str, url: str, sent: dict[str, Any]) -> Answer:
        """The answer, after as much waiting as `timeout_s` allows.

        Raises:
            InvalidItem: the endpoint says that the item is wrong.
            StageFailed: it can't be reached, is too busy, too slow or broken.
        """
        until = time.monotonic() + self.config.timeout_s

        def wait_s(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.wait_s if isinstance(error, _Busy) else None
            grown = min(_FIRST_WAIT_S * 2 ** (state.attempt_number - 1), _LONGEST_WAIT_S)
            return grown if asked is None else max(asked, _SHORTEST_WAIT_S)

        def too_late(state: RetryCallState) -> bool:
            return time.monotonic() + wait_s(state) >= until

        attempts = Retrying(retry=retry_if_exception_type(_Busy), wait=wait_s, stop=too_late, reraise=True)
        try:
            answer: Answer = attempts(self._send_once, method, url, sent, until)
        except _Busy as error:
            raise StageFailed(f"the endpoint {error}; gave up within {self.config.timeout_s:g} s") from error
        except httpx.TimeoutException as error:
            raise StageFailed(f"the endpoint did not answer within {self.config.timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise StageFailed(f"the endpoint broke off: {_name(error)}") from error
        return answer

    def _send_once(self, method: str, url: str, sent: dict[str, Any], until: float) -> Answer:
        timeout_s = max(until - time.monotonic(), 0.001)
        try:
            with self._http.stream(method, url, timeout=timeout_s, **sent) as response:
                body = read_body(response, until)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _Busy(f"can't be reached: {_name(error)}") from error
        status = response.status_code
        if response.is_success:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            return Answer(kind, body, response.headers.get("x-request-id", ""))
        what = f"answers {status} {words_of(body)}".strip()
        if status in _BUSY:
            raise _Busy(what, retry_after_s(response.headers.get("retry-after", "")))
        if response.is_client_error and status not in _OURS:
            raise InvalidItem(f"the endpoint {what}")
        if response.is_redirect:
            target = response.headers.get("location", "")[:MAX_MESSAGE]
            raise StageFailed(f"the endpoint {what} to {target!r}, which is not followed; set url to it")
        hint = "; are url and token_env right?" if status in _OURS else ""
        raise StageFailed(f"the endpoint {what}{hint}")


def _read_token(variable: str) -> str:
    token = os.environ.get(variable, "").strip()
    if not token:
        raise BadRequest(f"config.token_env: the environment variable {variable} is not set")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise BadRequest(f"config.token_env: what {variable} holds can't be a token")
    return token


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
