"""What comes out decides what comes next: the last tasks of `image_flow`, where its run asks for them."""

from typing import Any

from airflow.sdk import BaseOperator, get_current_context, task, task_group

from darkroom.orchestration.children import start
from darkroom.rest.api import DAG_ID


@task
def route() -> list[dict[str, Any]]:
    """Ask of each item which flow is next; the runs that go on, one a flow, each on a batch of its own.

    Those of earlier manifests are among them: they are there already, unless a run was ended in between.

    Raises:
        BadRequest: the user's function fails, or a batch of that name is somebody else's.
    """
    from darkroom.orchestration.tasks import batch_of, store_patience
    from darkroom.plans.intake import run_terms
    from darkroom.results.manifest import collect
    from darkroom.results.onward import conf_of, gone_on, refuse_taken
    from darkroom.results.routing import send_on

    context = get_current_context()
    batch, terms = batch_of(context), run_terms(context["params"])
    assert terms.then  # noqa: S101 - `verdict` has looked
    with store_patience():
        send_on(batch, collect(batch), terms.then)
        going = gone_on(batch, terms.then)
        for onward in going:
            refuse_taken(batch, onward)
        # The plant has taken this work on. Who is to be told of it, and by when, stays.
        same = terms.model_dump(
            mode="json", exclude_defaults=True, include={"deadline", "cancel_at_deadline", "callback_url"}
        )
        now = same | {"force": True, "priority": context["params"]["priority"]}
        return [{"trigger_run_id": onward.batch_id, "conf": conf_of(batch, onward) | now} for onward in going]


@task_group(tooltip="what a function of yours sends on to another flow, as batches of their own")
def then(judged: BaseOperator) -> None:
    """Start a run for each next flow. Nobody waits for it: each is a batch like any other."""
    routed = route()
    # To both, so that the branch skips both at once, and the run has ended then.
    judged >> [routed, start(routed, DAG_ID)]
