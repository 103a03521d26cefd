"""The pages of a batch: its contact sheet, its files, its pictures."""

from fastapi import APIRouter

from darkroom.monitor.access import MAY_LOOK

router = APIRouter(dependencies=[MAY_LOOK])
