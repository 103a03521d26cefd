"""What Darkroom adds to Airflow's api-server: registrations only."""

from functools import cached_property
from typing import Any

from airflow.sdk.plugins_manager import AirflowPlugin

from darkroom.orchestration import annotations, listener
from darkroom.orchestration.deadlines import DeadlineOfRun


class DarkroomPlugin(AirflowPlugin):
    """Every process of Airflow's loads this, tasks too: what is heavy waits until the api-server asks."""

    name = "darkroom"
    listeners = (listener, annotations)
    deadline_references = (DeadlineOfRun,)
    # Airflow takes entries out of it. No slash in front: below whatever path Airflow is served.
    external_views = [  # noqa: RUF012
        {
            "name": "Darkroom",
            "href": "darkroom/",
            "url_route": "darkroom",
            "destination": "nav",
            "nav_top_level": True,
        }
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """The pages and the API at `/darkroom`."""
        from darkroom.monitor.app import create_app  # noqa: PLC0415

        return [{"name": "darkroom", "app": create_app(), "url_prefix": "/darkroom"}]
