"""A batch is one trace: what Airflow 3.3.2 leaves undone of that.

Each run and task instance keeps its place in a trace (`context_carrier`), which its spans are made from.
Airflow gives none to task instances that it makes while a `task_instance_mutation_hook` is at work
(`DagRun._get_task_creator`), so that each of their spans begins a trace of its own. And it begins a new trace
for every run, also for one that a run has started (apache/airflow issue 67210).
"""

from typing import Any

from airflow._shared.observability.traces import new_task_run_carrier
from opentelemetry.trace import NonRecordingSpan, SpanContext, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C = TraceContextTextMapPropagator()
_PARENT = "traceparent"
"""Of a run's conf, as the W3C's recommendation Trace Context calls it."""


def to_child() -> dict[str, str]:
    """What the conf of a run that this task starts must hold to be in its trace; nothing without tracing."""
    told: dict[str, str] = {}
    _W3C.inject(told)
    return {_PARENT: told[_PARENT]} if told else {}


def give_place(task_instance: Any, dag_run: Any) -> None:
    """See that a new task instance is in its run's trace, and a run in that of the run that started it."""
    if task_instance.context_carrier:
        return
    if isinstance(parent := (dag_run.conf or {}).get(_PARENT), str):
        dag_run.context_carrier = _moved(dag_run.context_carrier, parent)
    task_instance.context_carrier = new_task_run_carrier(dag_run.context_carrier)


def _moved(carrier: dict[str, str] | None, parent: str) -> dict[str, str] | None:
    """A run's carrier in the trace of `parent`; as it was, if that is none."""
    own, there = _context_of(carrier or {}), _context_of({_PARENT: parent})
    if not (own.is_valid and there.is_valid):
        return carrier
    moved = SpanContext(there.trace_id, own.span_id, True, there.trace_flags, own.trace_state)
    told: dict[str, str] = {}
    _W3C.inject(told, set_span_in_context(NonRecordingSpan(moved)))
    return told


def _context_of(carrier: dict[str, str]) -> SpanContext:
    return get_current_span(_W3C.extract(carrier)).get_span_context()
