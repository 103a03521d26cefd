"""Batches over HTTP: what Airflow's own API does not know of them."""

from fastapi import APIRouter

router = APIRouter(prefix="/api/batches")
