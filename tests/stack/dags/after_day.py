"""
# after_day

An example of a DAG that runs after each day of `daily_flow`: its schedule is the asset `darkroom_daily`, and
each event of it says where the day's manifest is.
"""

from typing import Any

from airflow.sdk import Asset, dag, task


@task
def count_pictures(triggering_asset_events: Any = None) -> dict[str, int]:
    """How many pictures each day's manifest has, by day."""
    import pyarrow.parquet as pq

    from darkroom.settings import settings
    from darkroom.store.storage import open_store

    store = open_store(settings().store_url)
    found = {}
    for event in triggering_asset_events[Asset("darkroom_daily")]:
        with store.open(store.path(event.extra["manifest"])) as file:
            rows = pq.read_table(file, columns=["status"]).column("status").to_pylist()
        found[event.extra["day"]] = rows.count("completed")
    return found


@dag(schedule=[Asset("darkroom_daily")], doc_md=__doc__)
def after_day():
    count_pictures()


after_day()
