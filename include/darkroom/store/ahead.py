"""Results of a function in the order of its inputs, computed a few ahead by threads.

For what waits: reads from a store, which would otherwise cost one round trip after the other.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def ahead(
    function: Callable[[In], Out], inputs: Iterable[In], window: int, threads: int = 8
) -> Iterator[Out]:
    """`map`, with at most `window` results computed and not yet taken: so many are held in memory."""
    waiting: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(min(threads, window), thread_name_prefix="ahead") as pool:
        try:
            for value in inputs:
                waiting.append(pool.submit(function, value))
                if len(waiting) >= window:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # whoever takes no more need not wait for the rest
            for future in waiting:
                future.cancel()
