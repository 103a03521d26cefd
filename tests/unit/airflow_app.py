"""Darkroom's routes under Airflow's own logins and tables, as the api-server has them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from airflow import settings as airflow_settings
from airflow.api_fastapi import app as airflow_app
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models import import_all_models
from airflow.models.base import Base
from fastapi import FastAPI

from darkroom.monitor import metrics, plant_api
from darkroom.monitor.app import create_app
from darkroom.settings import settings


def make_tables() -> None:
    """Airflow's tables, in the database of this run of the tests."""
    airflow_settings.initialize()
    import_all_models()
    Base.metadata.create_all(airflow_settings.engine)


@contextmanager
def app() -> Iterator[FastAPI]:
    """The app."""
    make_tables()
    airflow = FastAPI()
    airflow.mount("/darkroom", create_app())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)
        airflow_app.init_auth_manager(airflow)
        yield airflow
    airflow_app._AuthManagerState.instance = None


def token(role: str | None) -> str:
    """What a user of that role shows; None: one without rights."""
    return SimpleAuthManager().generate_jwt(SimpleAuthManagerUser(username=f"a {role}", role=role))


def forget() -> None:
    """What a process of Airflow keeps: settings, looks at the plant and at its store."""
    for kept in (settings, plant_api.looks, metrics._store_watch):
        kept.cache_clear()
