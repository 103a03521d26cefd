"""Who may do what: Airflow's own users, with the rights they have on `image_flow`."""

from typing import Final

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import (
    GetUserDep,
    requires_access_dag,
    requires_access_pool,
    requires_authenticated,
)
from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

DAG_ID: Final = "image_flow"

LOGGED_IN = Depends(requires_authenticated())
"""Anybody with a login; for the app as a whole, for Airflow leaves the apps of plugins open."""
may_look = requires_access_dag("GET", DagAccessEntity.RUN, DAG_ID)
MAY_LOOK = Depends(may_look)
"""Whoever may see the runs of `image_flow` may see what they made."""
may_start = requires_access_dag("POST", DagAccessEntity.RUN, DAG_ID)
MAY_START = Depends(may_start)
"""Whoever may start a run may start a batch, stop it and steer it."""
may_fence = requires_access_pool("PUT")
MAY_FENCE = Depends(may_fence)
"""Whoever may change pools may take a server out of the fleet: both are capacity, for all batches."""


async def rights(request: Request, user: GetUserDep) -> list[str]:
    """What a user may do: `start`, `fence`; by the very checks that guard it."""
    found = []
    try:
        await run_in_threadpool(may_start, request, user)
        found.append("start")
    except HTTPException:
        pass
    try:
        await may_fence(request, user)
        found.append("fence")
    except HTTPException:
        pass
    return found


def refuse_other_sites(request: Request) -> None:
    """Let no page of another site change anything in the name of whoever looks at it.

    Airflow's cookie is `SameSite=Lax` already; a site is more than an origin, though.

    Raises:
        HTTPException: 403, a browser says that another origin asks for a change.
    """
    asks = request.headers.get("sec-fetch-site", "none")  # programs that are no browsers don't say
    if request.method not in ("GET", "HEAD") and asks not in ("same-origin", "none"):
        raise HTTPException(403, "a page of another site may change nothing here")


SAME_ORIGIN = Depends(refuse_other_sites)
