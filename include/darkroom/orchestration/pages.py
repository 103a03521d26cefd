"""The pages of an HTTP source, as tasks of `pages_flow`; and what starts its runs.

A run begins with one page. Of numbered pages it then fetches the others side by side; of pages that each
lead to the next it starts the run of the next, and computes its own items meanwhile.
"""

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException

from darkroom.flows import FLOWS
from darkroom.orchestration.children import start_run
from darkroom.orchestration.tasks import batch_of, store_patience
from darkroom.orchestration.tracing import to_child
from darkroom.settings import settings

if TYPE_CHECKING:
    from darkroom.plans.pages import Page, Pages
    from darkroom.plans.planning import Params
    from darkroom.store.batches import Batch

PAGES_FLOW = "pages_flow"
FETCHING: dict[str, Any] = {
    "retries": 4,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=5),
    "retry_policy": None,
    "execution_timeout": timedelta(minutes=15),
}
"""Five tries of a page, over a minute or two; to be told to come later spends none."""


@task(**FETCHING)
def look() -> list[Any]:
    """Fetch the run's page; the chunks of its items, or the numbers of the pages to fetch beside it."""
    context = get_current_context()
    with store_patience():
        pages = pages_of(batch_of(context))
        page = _fetch(pages, int(context["params"]["page"]), context)
        if pages.api.numbered:
            return list(pages.rest(page.page))
        chunk_ids = _plan_page(pages, page)
        if page.next and page.page < pages.api.max_pages:
            start_run(PAGES_FLOW, **_next_run(page.page + 1, context))
        return chunk_ids


@task.branch
def choose_way() -> str | None:
    """Lead to the other pages, or through the flow."""
    context = get_current_context()
    with store_patience():
        pages = pages_of(batch_of(context))
    if not context["ti"].xcom_pull(task_ids="look"):
        return None
    if pages.api.numbered:
        return "fetch"
    flow = FLOWS[pages.batch.request().flow]
    return f"{flow.group_id}.{flow.stages[0]}"


@task(
    **FETCHING,
    max_active_tis_per_dagrun=settings().pages_at_once,
    map_index_template="{{ page_name }}",
)
def fetch(page: int) -> int:
    """Fetch one more page; how many items it has."""
    context: Any = get_current_context()
    context["page_name"] = f"page {page}"
    with store_patience():
        return _fetch(pages_of(batch_of(context)), page, context).items


def pages_of(batch: "Batch") -> "Pages":
    """The pages of a batch.

    Raises:
        SourceNotAllowed: no table `[pages.<name>]` has a root that its source lies under.
    """
    from darkroom.plans.pages import Pages
    from darkroom.sources.base import paged_source

    return Pages(batch, paged_source(batch.request().source, settings().pages))


def commit(pages: "Pages") -> dict[int, str]:
    """Plan the batch from the pages that are there; those that are missing, and why."""
    from darkroom.plans.page_plan import plan_pages

    return plan_pages(pages, settings().input_roots, _decide(pages))


def first_run(pages: "Pages", page: int, context: Any, until: float | None) -> dict[str, Any]:
    """The run of `pages_flow` that begins with a page: the same on every try, another for a cleared run."""
    from darkroom.plans.runs import child_run_id

    again = context["dag_run"].clear_number
    what = f"again{again}__page{page:05d}" if again else f"page{page:05d}"
    batch_id = pages.batch.batch_id
    conf = {
        "batch_id": batch_id,
        "page": page,
        "until": until or round(time.time() + pages.api.timeout_s),
        "priority": context["params"]["priority"],
        **to_child(),
    }
    return {"run_id": child_run_id(batch_id, str(context["run_id"]), what), "conf": conf}


def _next_run(page: int, context: Any) -> dict[str, Any]:
    from darkroom.orchestration.triggers import page_run

    params = {name: context["params"][name] for name in ("batch_id", "until", "priority")}
    return {"run_id": page_run(str(context["run_id"]), page), "conf": {**params, "page": page, **to_child()}}


def _fetch(pages: "Pages", number: int, context: Any) -> "Page":
    """A page; one that is given up leaves its reason in the store.

    Raises:
        AirflowFailException: for good.
        AirflowRescheduleException: the API said when to come again: the wait holds no slot.
        PageAway: Airflow's retry may help.
    """
    from darkroom.errors import BadRequest, PageAway, PageDelayed

    ti, until = context["ti"], float(context["params"]["until"])
    if (known := pages.page(number)) is not None:
        return known
    _refuse_cancelled(pages.batch.batch_id)
    try:
        if time.time() >= until:
            raise PageDelayed("was not fetched in time", 0)
        return pages.fetch(number, _headers(pages.api.connection))
    except PageDelayed as error:
        if time.time() + error.wait_s < until:
            raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=error.wait_s)) from error
        why = f"{error}: all must be there within timeout_s {pages.api.timeout_s:g}"
    except PageAway as error:
        if ti.try_number <= ti.max_tries:
            raise
        why = f"{error}, after {ti.try_number} tries"
    except BadRequest as error:
        why = str(error)
    pages.give_up(number, why, str(context["run_id"]))
    raise AirflowFailException(f"page {number} is given up: it {why}")


def _plan_page(pages: "Pages", page: "Page") -> list[str]:
    """Plan a page of a chain; its chunks, if one run takes as many."""
    from darkroom.live.progress import PlanNow, Progress
    from darkroom.plans.page_plan import plan_page, planned_so_far

    batch = pages.batch
    index = plan_page(pages, page, settings().input_roots, _decide(pages))
    so_far = planned_so_far(batch, page.page)
    now = PlanNow(so_far.flow, so_far.items, so_far.rejects, chunks=len(so_far.chunk_ids))
    Progress(settings().redis_url.get_secret_value()).plan(batch.batch_id, now)
    # More than a run takes wait for the batch's own run, which makes shards of them.
    return index.chunk_ids if len(index.chunk_ids) <= settings().shard_chunks else []


def _decide(pages: "Pages") -> "Callable[[str], Params]":
    from darkroom.live.backlog import speeds
    from darkroom.plans.intake import decider

    here = settings()
    return decider(pages.batch.request().flow, here, **speeds(here.redis_url.get_secret_value()))


def _refuse_cancelled(batch_id: str) -> None:
    from darkroom.live.control import Control

    if Control(settings().redis_url.get_secret_value()).state(batch_id) == "cancelled":
        raise AirflowFailException(f"batch {batch_id} is cancelled")


def _headers(connection: str | None) -> dict[str, str]:
    """Who asks, as the connection says: never in a message, an XCom or the store."""
    if connection is None:
        return {}
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    from darkroom.errors import PageRefused

    try:
        found = Connection.get(connection)
    except AirflowNotFoundException:
        raise PageRefused(f"can't be asked for: there is no Airflow connection {connection!r}") from None
    password = str(found.password or "")
    if name := found.extra_dejson.get("header"):
        return {str(name): password}
    if found.login:
        return {"Authorization": f"Basic {base64.b64encode(f'{found.login}:{password}'.encode()).decode()}"}
    return {"Authorization": f"Bearer {password}"}
