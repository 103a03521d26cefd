"""What all DAGs share: the start form, limits, retries."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, Param, RetryAction, RetryRule, get_parsing_context

from darkroom.delivery.event import KINDS
from darkroom.errors import DarkroomError, ItemError
from darkroom.flows import DEFAULT_FLOW, FLOWS, STAGES
from darkroom.orchestration.source_param import source_param
from darkroom.settings import settings
from darkroom.stages.options import options_by_stage

RETRIES = 4
"""Five tries, each resuming where the last one stopped; the three tries of an item are its own."""


_OUT_OF_MEMORY_S = 60
_FAILURES, _TIME = "What may fail, and what is tried again", "When it runs, and who is told"
"""Parts of the form that are folded in; what has no such part is what a person must know."""


def _errors(base: type[DarkroomError]) -> Iterator[type[DarkroomError]]:
    yield base
    for child in base.__subclasses__():
        yield from _errors(child)


def retry_policy() -> ExceptionRetryPolicy:
    """Our errors as Airflow's retries: each class says itself whether trying again helps."""
    return ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception=f"{error.__module__}.{error.__qualname__}",
                action=RetryAction.RETRY if error.retryable else RetryAction.FAIL,
                retry_delay=timedelta(seconds=error.retry_after_s) if error.retryable else None,
                reason=(error.__doc__ or "").splitlines()[0],
                match_subclasses=False,
            )
            for error in _errors(DarkroomError)
            if not issubclass(error, ItemError)
        ]
        + [
            RetryRule(
                exception="builtins.MemoryError",
                action=RetryAction.RETRY,
                retry_delay=timedelta(seconds=_OUT_OF_MEMORY_S),
                reason="the machine is out of memory: later, when its other work has ended",
            )
        ]
    )


DAG_DEFAULTS: dict[str, Any] = {
    "default_args": {
        "retries": RETRIES,
        "retry_delay": timedelta(seconds=5),
        "retry_policy": retry_policy(),
    },
}


def _flow_help() -> str:
    """Every stage in a line, in the order of the flows."""
    names = dict.fromkeys(name for flow in FLOWS.values() for name in flow.stages)
    return "\n".join(f"- **{name}** is {STAGES[name].summary}" for name in names)


def _options_help(schemas: Mapping[str, Any]) -> str:
    """Every option with its limits, default and meaning, as a Markdown list."""
    # Bold, not code: the form's line height is too small for the frames it draws around code.
    lines = ['For example **{"generate": {"steps": 8}, "inspect": {"max_nsfw": 0.5}}**. There are:']
    for stage, schema in schemas.items():
        for name, field in schema.get("properties", {}).items():
            limits = f"{field['minimum']} to {field['maximum']}, " if "minimum" in field else ""
            default = json.dumps(field["default"]) if "default" in field else "none"
            meaning = field.get("description", "its class says no more")
            lines.append(f"- **{stage}.{name}** ({limits}default {default}): {meaning}")
    return "\n".join(lines)


def _options() -> Param:
    """Asked of the stages' classes, a user's own among them."""
    schemas = {stage: kind.model_json_schema() for stage, kind in options_by_stage().items()}
    return Param(
        {},
        type="object",
        title="Options per stage",
        section="Options of the models",
        properties=schemas,
        additionalProperties=False,
        examples=[{"generate": {"steps": 8}, "inspect": {"max_nsfw": 0.5}}],
        description_md=_options_help(schemas),
    )


def _form(options: Param) -> dict[str, Param]:
    return {
        "flow": Param(
            DEFAULT_FLOW,
            type="string",
            title="Flow",
            enum=list(FLOWS),
            values_display={flow.name: f"{flow.name}: {flow.summary}" for flow in FLOWS.values()},
            description_md=_flow_help(),
        ),
        "source": source_param(),
        "batch_id": Param(
            None,
            type=["null", "string"],
            title="Batch",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            maxLength=128,
            description="Its name in the store. Empty: made from the run's id.",
        ),
        "options": options,
        "max_failed_ratio": Param(
            0.05,
            type="number",
            title="Failed items allowed",
            section=_FAILURES,
            minimum=0,
            maximum=1,
            description="Share of items that may fail before the run fails; the manifest is written anyway.",
        ),
        "respins": Param(
            1,
            type="integer",
            title="Respins",
            section=_FAILURES,
            minimum=0,
            maximum=5,
            description="How often what C rejected is tried again with a new seed.",
        ),
        "priority": Param(
            "normal",
            type="string",
            title="Priority",
            section=_TIME,
            enum=["backfill", "bulk", "normal", "interactive"],
            description="Whose chunks go first when lanes are scarce, from last to first.",
        ),
        "retry": Param(
            False,
            type="boolean",
            title="Retry what failed",
            section=_FAILURES,
            description="Of a batch that has run: what failed goes round again, too.",
        ),
        "force": Param(
            False,
            type="boolean",
            title="Start even if the plant is full",
            section=_TIME,
            description="Plan although more hours of work wait than `max_backlog_hours` allows.",
        ),
        "not_before": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Not before",
            section=_TIME,
            description="Begin at this time, with its zone; until then the run holds no slot.",
        ),
        "deadline": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Deadline",
            section=_TIME,
            description="Who should know is told when the batch has not ended by this time.",
        ),
        "cancel_at_deadline": Param(
            False,
            type="boolean",
            title="Cancel at the deadline",
            section=_TIME,
            description="Then the batch is also cancelled; what was computed is kept.",
        ),
        "callback_url": Param(
            None,
            type=["null", "string"],
            format="uri",
            maxLength=2048,
            title="Callback URL",
            section=_TIME,
            description="Gets one signed POST when the batch ends, or is late. Only hosts that "
            "`callback_hosts` allows.",
        ),
        **_then(),
    }


def _then() -> dict[str, Param]:
    """Where items may go on to; without a table `[then.<name>]`, there is no such question."""
    routes = settings().then
    if not routes:
        return {}
    param = Param(
        None,
        type=["null", "string"],
        title="Then",
        enum=[None, *routes],
        values_display={name: f"{name}: {route.summary}" for name, route in routes.items()},
        description="Where items go on to when the batch has ended: a function in darkroom.toml decides.",
    )
    return {"then": param}


def start_params() -> dict[str, Param]:
    """The start contract: one JSON Schema for the form, the REST API, the command and the schedule.

    For a task that is about to run, only the defaults. It gives each operator a copy of the params and checks
    values and schemas again, much of what a hop costs, when Airflow's API has done so as it made the run. See
    https://airflow.apache.org/docs/apache-airflow/stable/howto/dynamic-dag-generation.html
    """
    if get_parsing_context().task_id is None:
        return _form(_options())
    return {name: Param(param.value) for name, param in _form(options=Param({})).items()}


def callback_params() -> dict[str, Param]:
    """What `callback_flow` is started with, when a run of `image_flow` ends or is late."""
    return {
        "event": Param("batch.completed", type="string", enum=list(KINDS), title="Event"),
        "batch_id": Param(None, type="string", title="Batch", description="Of which batch."),
        "run_id": Param(None, type="string", title="Run", description="The run of it that has ended."),
        "callback_url": Param(None, type="string", maxLength=2048, title="Callback URL"),
        "at": Param(None, type="string", format="date-time", title="When it happened"),
    }


def page_params() -> dict[str, Param]:
    """What `pages_flow` is started with, by other runs."""
    return {
        "batch_id": Param(None, type="string", title="Batch", description="A batch of an HTTP source."),
        "page": Param(None, type="integer", minimum=1, title="Page", description="With which to begin."),
        "until": Param(
            None, type="number", title="Until", description="When all must be there, in seconds since 1970."
        ),
        "priority": start_params()["priority"],
    }


def shard_params() -> dict[str, Param]:
    """What `shard_flow` is started with, by other runs."""
    return {
        "batch_id": Param(None, type="string", title="Batch", description="A batch that is planned."),
        "round": Param(
            None, type="integer", minimum=0, title="Round", description="Which round of it to run."
        ),
        "shard": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Shard",
            description="Which shard of the round; empty: all of it.",
        ),
        "depth": Param(
            0, type="integer", minimum=0, title="Depth", description="How many rounds this run stems from."
        ),
        "priority": start_params()["priority"],
    }
