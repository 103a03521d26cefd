"""Pictures that no batch refers to: mark what parts and plans name, sweep what is old and not marked.

What nobody refers to yet, as it is being computed, is young; and who uses an old picture again writes it
anew (`Artifact.find`), so it is young, too. Verdicts and details are read into parts whole, so they are a
cache, and go by age unless their picture stays.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from darkroom.retention.marks import Marks
from darkroom.retention.removal import PAGE, remove
from darkroom.retention.tally import Tally
from darkroom.store.batches import batches_in
from darkroom.store.storage import Stat, Store
from darkroom.store.tables import open_table

_LOOKERS = 16


def sweep(store: Store, before_s: float, tally: Tally, marks: Marks | None = None) -> None:
    """Remove the pictures that were last written before `before_s` and that no batch refers to.

    Raises:
        NewerSchema: a part can't be read, so nobody knows what it refers to; nothing is removed.
        StoreUnavailable: the store refuses or does not answer.
    """
    marks = Marks() if marks is None else marks
    for uri in _referred(store):
        if uri.startswith(f"{store.uri('')}images/"):
            marks.add(_key(store.path(uri)))
    page: list[tuple[str, Stat]] = []
    for path, stat in store.list_stats("images"):
        if stat.modified_s < before_s and _key(path) not in marks:
            page.append((path, stat))
            if len(page) == PAGE:
                _remove(store, page, before_s, tally)
                page = []
    _remove(store, page, before_s, tally)


def _key(path: str) -> str:
    """What a picture and its details share: `images/generate/ab/abcd`."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


def _referred(store: Store) -> Iterator[str]:
    """Every URI that a batch names: of results, and of pictures that it takes."""
    for batch in batches_in(store):
        for folder, column in (("parts", "image_uri"), ("plan", "image")):
            for path in store.list(f"{batch.root}/{folder}"):
                if path.endswith(".parquet"):
                    yield from _column(store, path, column)


def _column(store: Store, path: str, column: str) -> Iterator[str]:
    try:
        with store.open(path) as file:
            table = open_table(file)
            for rows in table.iter_batches(columns=[column]):
                yield from filter(None, rows.column(0).to_pylist())
    except FileNotFoundError:  # its batch was removed meanwhile
        return


def _remove(store: Store, page: Sequence[tuple[str, Stat]], before_s: float, tally: Tally) -> None:
    if not page:
        return
    if not tally.dry_run:
        # Listed a while ago: who used one since has written it anew.
        with ThreadPoolExecutor(_LOOKERS, thread_name_prefix="images") as threads:
            now = threads.map(lambda found: _written_s(store, found[0]), page)
            page = [found for found, written_s in zip(page, now, strict=True) if written_s < before_s]
        remove(store, [path for path, _ in page])
    for _path, stat in page:
        tally.add(stat.size_bytes, stat.modified_s)


def _written_s(store: Store, path: str) -> float:
    try:
        return store.stat(path).modified_s
    except FileNotFoundError:
        return 0.0
