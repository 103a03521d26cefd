"""The pages of a batch whose source is an HTTP API, in the store: each is written once, then read as a file.

    batches/{batch_id}/pages/00001-3fa94be1.jsonl       the items, named by their hash
    batches/{batch_id}/pages/00001.json                 commits them; with what the answer said of other pages
    batches/{batch_id}/pages/00002-missing-9c11d0aa.json   why a run gave a page up

The first page is 1, whatever number the API gives it.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated

from pydantic import Field

from darkroom.errors import PageRefused, PagesMissing
from darkroom.inputs import is_remote, local_path
from darkroom.paging import Paged, under
from darkroom.records import SCHEMA_VERSION, Record
from darkroom.sources import Source
from darkroom.sources.files import Format, SourceFile
from darkroom.store.ahead import ahead
from darkroom.store.batches import Batch
from darkroom.store.storage import sha256

_NAME = re.compile(r"(?P<page>\d{5})(-missing-\w+)?\.json")
_READ_AHEAD = 32
_NOT_FETCHED = "was not fetched"
_NAMED = 20
"""So many missing pages a message names."""


class Page(Record):
    """One page that is there."""

    page: Annotated[int, Field(ge=1)]
    file: str
    """The name of the file of its items."""
    items: int
    count: int | None = None
    """Of numbered pages: how many there are, as this answer says."""
    next: str | None = None
    """Of others: the URL of the next; None: this was the last."""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Pages:
    """The pages of one batch."""

    batch: Batch
    api: Paged

    @cached_property
    def source(self) -> str:
        """The URL that was asked for."""
        return self.batch.request().source

    @property
    def _root(self) -> str:
        return f"{self.batch.root}/pages"

    def _path(self, page: int) -> str:
        return f"{self._root}/{page:05d}.json"

    def page(self, number: int) -> Page | None:
        """A page; None while it is not there."""
        try:
            return Page.model_validate_json(self.batch.store.read(self._path(number)))
        except FileNotFoundError:
            return None

    def there(self) -> list[Page]:
        """The pages that are there, in their order."""
        numbers = sorted(
            int(found["page"]) for name in self._names() if (found := _NAME.fullmatch(name)) and not found[2]
        )
        return [page for page in ahead(self.page, numbers, _READ_AHEAD) if page is not None]

    def fetch(self, number: int, headers: Mapping[str, str]) -> Page:
        """A page, as it is in the store, else as the API gives it.

        Raises:
            PageRefused: it can't be used, or asked for.
            PageAway: the API did not give it; PageDelayed: it will later.
        """
        if (known := self.page(number)) is not None:
            return known
        from darkroom.sources.paged import ask  # noqa: PLC0415 - only who fetches needs a client

        api, url = self.api, self.url(number)
        answer = ask(api, url, headers)
        items = api.items_in(answer)
        lines = "".join(f"{json.dumps(item)}\n" for item in items).encode()
        page = Page(
            page=number,
            file=f"{number:05d}-{sha256(lines)[:8]}.jsonl",
            items=len(items),
            count=api.count_in(answer) if api.numbered else None,
            next=None if api.numbered else api.next_in(answer, self.source, url),
        )
        self.batch.store.create(f"{self._root}/{page.file}", lines)
        self.batch.store.create_json(self._path(number), page.model_dump(mode="json"))
        return self.page(number) or page

    def url(self, number: int) -> str:
        """Where a page is asked for.

        Raises:
            PageRefused: the page before, which says so, is not there or was the last; or it leads out of the
                root, or round in a circle.
        """
        if self.api.numbered:
            return self.api.url(self.source, number)
        urls = [self.source, *(page.next for page in self.there() if page.page < number)]
        *before, url = urls[:number]
        if len(urls) < number or url is None:
            raise PageRefused("can't be asked for: no page leads to it")
        if not under(self.api.root, url):
            raise PageRefused(f"does not lie under {self.api.root}")
        if url in before:
            raise PageRefused(f"is page {before.index(url) + 1} again: the pages go round in a circle")
        return url

    def settled(self) -> bool:
        """Whether every page is there, or given up."""
        return _NOT_FETCHED not in self.missing().values()

    def begin_with(self) -> int | None:
        """The first page that can still be fetched; None: all that can be are there."""
        missing = next(iter(self.missing()), None)
        return missing if missing is None or missing <= self.api.max_pages else None

    def rest(self, first: int) -> list[int]:
        """The numbered pages that are to be fetched together with `first`, which is there: those after it."""
        return [page for page in self.missing() if first < page <= self.api.max_pages]

    def grown(self, first: int) -> int | None:
        """The first page that nobody knew of when those after `first` were listed."""
        page = self.page(first)
        if page is None or page.count is None:
            return None
        known = max(page.count, first)
        return known + 1 if known < min(self.expected(self.there()), self.api.max_pages) else None

    def give_up(self, number: int, reason: str, run_id: str) -> None:
        """Keep why a run did not get a page."""
        who = hashlib.sha256(run_id.encode()).hexdigest()[:8]
        self.batch.store.create_json(
            f"{self._root}/{number:05d}-missing-{who}.json", {"reason": reason, "at": _now()}
        )

    def expected(self, there: Sequence[Page]) -> int:
        """How many pages there must be, by what is known; the last of them may be one that ends a chain."""
        if not there:
            return 1
        if self.api.numbered:
            return max(page.count or 0 for page in there) or 1
        return max(page.page + (page.next is not None) for page in there)

    def missing(self) -> dict[int, str]:
        """The pages that are expected and not there, and why, as far as somebody said so.

        Those beyond `max_pages` are one entry: an answer may tell of any number.
        """
        there = self.there()
        expected, most = self.expected(there), self.api.max_pages
        gaps = sorted(set(range(1, min(expected, most) + 1)) - {page.page for page in there})
        reasons = self._reasons() if gaps else {}
        found = {page: reasons.get(page, _NOT_FETCHED) for page in gaps}
        if expected > most:
            found[most + 1] = f"and all after it come after max_pages {most}"
        return found

    def may_go_without(self) -> dict[int, str]:
        """The pages that are missing, where so many may.

        Raises:
            PagesMissing: more are than `max_missing_ratio` allows.
        """
        there, missing = self.there(), self.missing()
        expected = self.expected(there)
        if missing and (not there or expected - len(there) > self.api.max_missing_ratio * expected):
            told = [f"page {page} {reason}" for page, reason in list(missing.items())[:_NAMED]]
            more = [f"and {len(missing) - _NAMED} more"] if len(missing) > _NAMED else []
            raise PagesMissing(
                f"{expected - len(there)} of {expected} pages of {_shown(self.source)} are missing, more "
                f"than max_missing_ratio {self.api.max_missing_ratio:g} allows: {'; '.join(told + more)}"
            )
        return missing

    def as_source(self, pages: Sequence[Page], roots: Sequence[str]) -> Source:
        """Pages as a source of files; pictures that they name must lie under `roots`."""
        store = self.batch.store

        def file(page: Page) -> SourceFile:
            uri = store.uri(f"{self._root}/{page.file}")
            place = uri if is_remote(uri) else local_path(uri).resolve()
            return SourceFile(page_name(page.page), place, Format("jsonl"), (store.url,))

        return Source(self.source, tuple(roots), tuple(map(file, pages)), several=True)

    def _reasons(self) -> dict[int, str]:
        """The last reason that was given for each page."""
        found = []
        for name in self._names():
            if (matched := _NAME.fullmatch(name)) and matched[2]:
                told = self.batch.store.read_json(f"{self._root}/{name}")
                found.append((told["at"], int(matched["page"]), str(told["reason"])))
        return {page: reason for _, page, reason in sorted(found)}

    def _names(self) -> list[str]:
        return [path.rpartition("/")[2] for path in self.batch.store.list(self._root)]


def page_name(page: int) -> str:
    """`page 00003`: what rejects call it."""
    return f"page {page:05d}"


def _shown(url: str) -> str:
    return url.partition("?")[0]


def _now() -> str:
    return datetime.now(UTC).isoformat()
