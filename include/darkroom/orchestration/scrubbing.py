"""What Sentry is told of an error: its kind, where in the code it is, of which batch; never a message.

Messages quote what a source or a model said, so they stay in the log of the task. Airflow 3.3.2 hands
`[sentry] before_send` to Sentry as text, which then fails; so this is a processor of all events of a process.
"""

from typing import Any, cast

from sentry_sdk.scope import add_global_event_processor

_KEPT = ("event_id", "timestamp", "level", "platform", "sdk", "release", "environment", "server_name", "tags")
_KEPT_OF_ERROR = ("type", "module", "mechanism")
_KEPT_OF_FRAME = ("filename", "abs_path", "function", "module", "lineno", "in_app",
                  "context_line", "pre_context", "post_context")  # fmt: skip


def scrub(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any] | None:
    """The event with what may leave the plant; None, and nothing is sent, of a mere line in a log."""
    from darkroom.errors import DarkroomError

    errors = (event.get("exception") or {}).get("values")
    if not errors:
        return None
    kept = {name: event[name] for name in _KEPT if name in event}
    kept["exception"] = {"values": [_scrubbed(error) for error in errors]}
    raised = (hint.get("exc_info") or (None, None))[1]
    if isinstance(raised, DarkroomError):
        kept["tags"] = {**kept.get("tags", {}), "code": raised.code, "fault": raised.fault}
    return kept


def _scrubbed(error: dict[str, Any]) -> dict[str, Any]:
    kept = {name: error[name] for name in _KEPT_OF_ERROR if name in error}
    frames = (error.get("stacktrace") or {}).get("frames") or []
    told = [{name: frame[name] for name in _KEPT_OF_FRAME if name in frame} for frame in frames]
    return {**kept, "value": "(see the log of the task)", "stacktrace": {"frames": told}}


add_global_event_processor(cast(Any, scrub))
