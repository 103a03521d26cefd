"""Who may do what: Airflow's own users, with the rights they have on `image_flow`."""

from typing import Final

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag, requires_authenticated
from fastapi import Depends

DAG_ID: Final = "image_flow"

LOGGED_IN = Depends(requires_authenticated())
"""Anybody with a login; for the app as a whole, for Airflow leaves the apps of plugins open."""
may_look = requires_access_dag("GET", DagAccessEntity.RUN, DAG_ID)
MAY_LOOK = Depends(may_look)
"""Whoever may see the runs of `image_flow` may see what they made."""
MAY_START = Depends(requires_access_dag("POST", DagAccessEntity.RUN, DAG_ID))
"""Whoever may start a run may start a batch, stop it and steer it."""
