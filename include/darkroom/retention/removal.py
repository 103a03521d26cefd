"""The only place that removes anything from the store.

Everything else creates. import-linter sees to it that only retention comes here.
"""

from collections.abc import Sequence
from functools import cache

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from darkroom.errors import StoreUnavailable
from darkroom.store.storage import Store

PAGE = 1000
"""How many paths S3 removes by one request."""


def remove(store: Store, paths: Sequence[str]) -> None:
    """Remove what lies at `paths`; what is gone already is no error. On local disk empty folders go too.

    Raises:
        StoreUnavailable: the store refuses or does not answer; some of it may be removed.
    """
    for begin in range(0, len(paths), PAGE):
        page = list(paths[begin : begin + PAGE])
        try:
            obstore.delete(_backend(store), page)
        except FileNotFoundError:
            for path in page:
                _remove_one(store, path)
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"can't remove from {store.url}: {error}") from error


def _remove_one(store: Store, path: str) -> None:
    try:
        obstore.delete(_backend(store), path)
    except FileNotFoundError:
        return
    except (BaseError, OSError) as error:
        raise StoreUnavailable(f"can't remove {store.uri(path)}: {error}") from error


def _backend(store: Store) -> ObjectStore:
    return _tidy(store.url) if store.url.startswith("file:") else store.backend


@cache
def _tidy(url: str) -> ObjectStore:
    """A local folder in which no empty folders are left behind."""
    return from_url(url, automatic_cleanup=True)
