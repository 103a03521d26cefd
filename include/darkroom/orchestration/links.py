"""Links from the last tasks of a run to what it made, as buttons in Airflow's UI."""

from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf


class _Page(BaseOperatorLink):
    """A page of the run's batch, on the same server; Airflow keeps the link when the task ends."""

    below = ""
    """Of the batch's own page."""

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address, as a path: whoever looks may reach the server by another name than we do."""
        from darkroom.orchestration.tasks import batch_of

        # What Airflow hands over when a task ends is no key, but the task instance itself.
        batch_id = batch_of(ti_key.get_template_context()).batch_id
        prefix = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
        return f"{prefix}/darkroom/batches/{batch_id}{self.below}"


class ContactSheet(_Page):
    """To the pictures."""

    name = "Contact sheet"


class Manifest(_Page):
    """To the table of all results."""

    name = "Manifest"
    below = "/files/manifest.parquet"


LINKS = (ContactSheet(), Manifest())
