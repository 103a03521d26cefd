"""Model servers over HTTP: taking one out of the fleet, and back."""

from typing import Annotated

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from darkroom.fleet.servers import FenceWish, Fleet, FleetUnknown
from darkroom.monitor.access import MAY_FENCE, MAY_LOOK
from darkroom.monitor.refusals import refusals
from darkroom.settings import settings

router = APIRouter(prefix="/api/servers", dependencies=[MAY_LOOK], responses=refusals(400, 404, 503))


class Fencing(BaseModel):
    """Whether a server shall be fenced."""

    model_config = ConfigDict(extra="forbid")
    fenced: StrictBool
    reason: Annotated[str, Field(max_length=200, description="Shown to whoever looks at the fleet.")] = ""


@router.put("/{server}/fence", status_code=202, dependencies=[MAY_FENCE])
def fence(server: str, asked: Fencing, user: GetUserDep) -> Fencing:
    """Ask a server's host to fence it, as `darkroom fence` there, or to take it back; it does within seconds.

    `server` is named as in `/darkroom/api/plant`: `generate-1@box`.
    """
    fleet = Fleet(settings().redis_url.get_secret_value())
    reason = f"{asked.reason or 'by hand'} ({user.get_name()})"
    try:
        if server not in {one.worker for one in fleet.servers()}:
            raise HTTPException(404, f"no server {server!r} told anything lately")
        fleet.ask(server, FenceWish(fenced=asked.fenced, reason=reason))
    except FleetUnknown as error:
        raise HTTPException(503, f"Redis does not answer, so the server would not hear it: {error}") from None
    return asked
