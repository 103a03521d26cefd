"""The tables `[pages.<name>]` of `darkroom.toml`: how the pages of an HTTP API are asked for and read. Pure.

An API either numbers its pages and says how many there are (`page_param`, `count`), or says with each page
where the next one is (`next`).
"""

import math
import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlencode, urljoin, urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from darkroom.errors import PageRefused

_URL = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?][!-\[\]-~]*)?")
"""No user, no blank, no backslash: nothing that two readers could read in two ways."""
_PORTS = {"http": 80, "https": 443}
MAX_URL = 2048
OurField = Literal[
    "custom_id", "prompt", "image", "seed", "width", "height", "options", "expires_at", "metadata"
]


def _a_root(url: str) -> str:
    if not under(url, url) or "?" in url:
        raise ValueError("a URL such as https://api.example.com/v1/prompts, without a query or a user")
    return url.rstrip("/")


def _a_network(text: str) -> str:
    return str(ip_network(text))


class Paged(BaseModel):
    """One HTTP API whose pages may be a source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Annotated[str, AfterValidator(_a_root)]
    """A source of this API is a URL under it, with any query."""
    items: str = ""
    """Where in an answer the list of items is, such as `data` or `result.items`; empty: the answer is it."""
    fields: dict[OurField, str] = {}
    """Where in one of their items our fields are: `{custom_id = "id", prompt = "text"}`, what is not named is
    left out. Without it, their items are ours as they are."""
    page_param: str | None = None
    """Numbered pages: the query parameter that takes the number."""
    first_page: Annotated[int, Field(ge=0)] = 1
    """The number of the first."""
    count: str | None = None
    """Where in an answer the number of pages is; with `page_size`, that of all items."""
    page_size: Annotated[int, Field(ge=1)] | None = None
    """Items on a page."""
    next: str | None = None
    """Where in an answer the URL of the next page is, or its token; nothing there: it was the last."""
    cursor_param: str | None = None
    """The query parameter that takes the token; without it, `next` leads to a URL."""
    connection: str | None = None
    """The Airflow connection of who asks: login and password, a password alone (a bearer token), or one that
    goes by the header that its extra names: `{"header": "X-API-Key"}`."""
    networks: list[Annotated[str, AfterValidator(_a_network)]] = []
    """Networks that are not public in which the API's host may lie, such as `10.1.2.0/24`."""
    max_pages: Annotated[int, Field(ge=1, le=1000)] = 1000
    """What comes after so many pages is missing."""
    max_missing_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How many of the pages may be missing: 0 none, 1 any number; above it the run fails."""
    max_page_bytes: Annotated[int, Field(ge=1, le=256 << 20)] = 16 << 20
    """A larger answer is refused."""
    page_timeout_s: Annotated[float, Field(gt=0, le=300)] = 30.0
    """How long one answer may take."""
    timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    """How long after the first page is asked for all must be there."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.page_param is None) == (self.next is None):
            raise ValueError("give either page_param and count (numbered pages) or next")
        if (self.page_param is None) != (self.count is None) or (self.page_size and not self.count):
            raise ValueError("page_param, count and page_size belong together")
        if self.cursor_param and not self.next:
            raise ValueError("cursor_param without next")
        if self.fields and "custom_id" not in self.fields:
            raise ValueError("fields must say where custom_id is")
        return self

    @property
    def numbered(self) -> bool:
        """Whether the first answer says how many pages there are."""
        return self.page_param is not None

    @property
    def hosts(self) -> list[str]:
        """Who may be spoken to, as `delivery.hosts` takes it."""
        return [urlsplit(self.root).hostname or "", *self.networks]

    def url(self, source: str, page: int) -> str:
        """Of a numbered page of a source, the first being 1."""
        return _with_param(source, str(self.page_param), str(self.first_page - 1 + page))

    def items_in(self, answer: Any) -> list[Any]:
        """The items of an answer, in our fields.

        Raises:
            PageRefused: there is no list where they should be.
        """
        found = at(answer, self.items)
        if not isinstance(found, list):
            raise PageRefused(
                f"no list of items at {self.items!r}" if self.items else "the answer is no list"
            )
        return [self._ours(item) for item in found]

    def count_in(self, answer: Any) -> int:
        """How many pages there are, as an answer says.

        Raises:
            PageRefused: it does not.
        """
        told = at(answer, str(self.count))
        if not isinstance(told, int) or isinstance(told, bool) or told < 0:
            raise PageRefused(f"no count at {self.count!r}")
        return math.ceil(told / self.page_size) if self.page_size else told

    def next_in(self, answer: Any, source: str, url: str) -> str | None:
        """The URL of the page after the one at `url`, wherever it leads; None: that was the last.

        Raises:
            PageRefused: there is something else.
        """
        told = at(answer, str(self.next))
        if told is None or told == "":
            return None
        if isinstance(told, bool) or not isinstance(told, str | int):
            raise PageRefused(f"neither an address nor a token at {self.next!r}")
        if self.cursor_param:
            found = _with_param(source, self.cursor_param, str(told))
        else:
            try:
                found = urljoin(url, str(told))
            except ValueError:
                raise PageRefused(f"no address at {self.next!r}") from None
        if len(found) > MAX_URL:
            raise PageRefused(f"an address of more than {MAX_URL} characters at {self.next!r}")
        return found

    def _ours(self, item: Any) -> Any:
        if not self.fields or not isinstance(item, dict):
            return item
        found = {ours: at(item, theirs) for ours, theirs in self.fields.items()}
        if isinstance(found["custom_id"], int) and not isinstance(found["custom_id"], bool):
            found["custom_id"] = str(found["custom_id"])
        return {ours: value for ours, value in found.items() if value is not None}


def is_url(source: str) -> bool:
    """Whether a source is asked for by HTTP, page by page."""
    return source.startswith(("http://", "https://"))


def paged(source: str, pages: Mapping[str, Paged]) -> Paged | None:
    """The API that a source is of; None: it is of none."""
    return next((api for api in pages.values() if under(api.root, source)), None)


def under(root: str, url: str) -> bool:
    """Whether `url` leads to the root or a place below it, however a server may read it."""
    if not _URL.fullmatch(url):
        return False
    try:
        asked, base = urlsplit(url), urlsplit(root)
        same = _server(asked) == _server(base)
    except ValueError:
        return False
    path = asked.path
    while (decoded := unquote(path)) != path:  # a server may decode what another has decoded
        path = decoded
    if "\\" in path or {".", ".."} & set(path.split("/")):
        return False
    beginning = base.path.rstrip("/")
    return same and (asked.path == beginning or asked.path.startswith(f"{beginning}/"))


def at(value: Any, path: str) -> Any:
    """What lies in an answer at `a.b.c`; None where there is nothing."""
    for name in path.split(".") if path else []:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _server(parts: Any) -> tuple[str, str, int]:
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS[parts.scheme]


def _with_param(url: str, name: str, value: str) -> str:
    parts = urlsplit(url)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != name]
    return urlunsplit(parts._replace(query=urlencode([*query, (name, value)])))
