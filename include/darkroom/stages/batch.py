"""Run a batch item by item, so that a bad one fails alone."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from darkroom.errors import ItemError, StageFailed
from darkroom.stages.base import Output, Request

log = logging.getLogger(__name__)


def run_each(
    batch: list[Request], run_one: Callable[[Request], Output], threads: int = 1
) -> list[Output | ItemError]:
    """The answers of `run_one` in the order of `batch`, an error in the place of its item.

    Args:
        batch: the items.
        run_one: must be safe to call from several threads where there are any.
        threads: items at work at once; worth it only where they wait for something.
    """
    if threads == 1:
        return [_answer(request, run_one) for request in batch]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda request: _answer(request, run_one), batch))


def _answer(request: Request, run_one: Callable[[Request], Output]) -> Output | ItemError:
    try:
        return run_one(request)
    except ItemError as error:
        return error
    # A runtime may raise anything; the item carries it on as a StageFailed, the log has the traceback.
    except Exception as error:
        log.warning("item %s failed", request.custom_id, exc_info=error)
        failed = StageFailed(f"{type(error).__name__}: {error}")
        failed.__cause__ = error
        return failed
