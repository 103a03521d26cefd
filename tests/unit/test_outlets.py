"""Settings that tell others what the plant does, each tried against somebody who listens."""

import gzip
import json
import os
import socket
import subprocess
import sys

import pytest
import yaml
from tests.receiver import receiving

from darkroom.errors import BadRequest
from darkroom.settings import Settings
from darkroom.stack.outlets import outlets


def test_without_settings_nobody_is_told():
    assert outlets(Settings()) == {}


def test_json_logs_are_airflows_own_option():
    assert outlets(Settings(log_format="json")) == {"AIRFLOW__LOGGING__JSON_LOGS": "True"}


def test_a_collector_gets_metrics_and_traces_by_http():
    found = outlets(Settings(otlp_endpoint="http://127.0.0.1:4318"))
    assert found["AIRFLOW__METRICS__OTEL_ON"] == found["AIRFLOW__TRACES__OTEL_ON"] == "True"
    assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:8126", "127.0.0.1", "8126"),
        ("statsd.local", "statsd.local", "8125"),
        ("[::1]:9", "::1", "9"),
    ],
)
def test_a_statsd_server_is_a_host_and_a_port(address, host, port):
    found = outlets(Settings(statsd=address))
    assert (found["AIRFLOW__METRICS__STATSD_HOST"], found["AIRFLOW__METRICS__STATSD_PORT"]) == (host, port)


@pytest.mark.parametrize(
    "wrong", [{"statsd": ":8125"}, {"statsd": "host:port"}, {"otlp_endpoint": "127.0.0.1:4318"}]
)
def test_what_is_no_address_is_refused_by_name(wrong):
    with pytest.raises(BadRequest, match=next(iter(wrong))):
        outlets(Settings(**wrong))


def test_every_option_is_known_to_the_installed_airflow_but_those_that_it_hands_to_sentry():
    from pathlib import Path

    import airflow

    known = yaml.safe_load((Path(airflow.__file__).parent / "config_templates" / "config.yml").read_text())
    everything = Settings(
        log_format="json", otlp_endpoint="http://c:1", statsd="s:1", sentry_dsn="http://k@127.0.0.1/1"
    )
    for name in outlets(everything):
        if name.startswith("AIRFLOW__"):
            _, section, key = name.lower().split("__")
            assert key in known[section]["options"] or section == "sentry", name


def unpacked(headers, body):
    return gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body


def told(settings, script, said=""):
    """Run a script as a process of Airflow's would run with these settings."""
    env = os.environ | outlets(settings) | {"NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, input=said, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


STATSD = """
from airflow.sdk._shared.observability.metrics import stats
from airflow.sdk.observability.metrics import stats_utils
from airflow.sdk.configuration import conf
stats.initialize(factory=stats_utils.get_stats_factory(),
                 export_legacy_names=conf.getboolean("metrics", "legacy_names_on"))
stats.incr("ti.finish", tags={"dag_id": "image_flow", "task_id": "plan", "state": "success", "run_id": "r1"})
stats._get_backend().dogstatsd.flush()
"""


def test_a_statsd_server_gets_airflows_metrics_with_datadogs_tags_and_no_run_ids():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        told(Settings(statsd=f"127.0.0.1:{receiver.getsockname()[1]}"), STATSD)
        while "ti.finish" not in (line := receiver.recv(65536).decode().strip()):
            pass  # what the client tells of itself
    name, kind, tags = line.split("|")
    assert (name, kind) == ("airflow.ti.finish:1", "c")
    assert {"dag_id:image_flow", "task_id:plan", "state:success"} <= set(tags.removeprefix("#").split(","))
    assert "run_id" not in tags


TRACES = """
from airflow.sdk._shared.observability.traces import configure_otel
from airflow.sdk._shared.observability.metrics import stats
from airflow.sdk.observability.metrics import stats_utils
from airflow.sdk.configuration import conf
from opentelemetry import metrics, trace
configure_otel(conf)
with trace.get_tracer("t").start_as_current_span("worker.plan"):
    pass
trace.get_tracer_provider().force_flush()
stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
stats.incr("ti.start", tags={"dag_id": "image_flow"})
metrics.get_meter_provider().force_flush()
"""


def test_a_collector_gets_spans_and_metrics_by_http_from_airflows_own_code():
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    with receiving() as collector:
        collector.answers = [200] * 20
        told(Settings(otlp_endpoint=f"http://127.0.0.1:{collector.server_port}"), TRACES)
        got = list(zip(collector.paths, (unpacked(*one) for one in collector.got), strict=True))
    traces = [ExportTraceServiceRequest.FromString(body) for path, body in got if path == "/v1/traces"]
    resources = [one for request in traces for one in request.resource_spans]
    assert "worker.plan" in {s.name for one in resources for scope in one.scope_spans for s in scope.spans}
    services = {a.value.string_value for one in resources for a in one.resource.attributes
                if a.key == "service.name"}  # fmt: skip
    assert services == {"darkroom"}
    told_of = [ExportMetricsServiceRequest.FromString(body) for path, body in got if path == "/v1/metrics"]
    scopes = [scope for request in told_of for one in request.resource_metrics for scope in one.scope_metrics]
    assert "airflow.ti.start" in {metric.name for scope in scopes for metric in scope.metrics}


def spans(script):
    """What a collector gets of a script."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    with receiving() as collector:
        collector.answers = [200] * 20
        told(Settings(otlp_endpoint=f"http://127.0.0.1:{collector.server_port}"), script)
        got = [unpacked(*one) for path, one in zip(collector.paths, collector.got, strict=True)
               if path == "/v1/traces"]  # fmt: skip
    resources = [one for body in got for one in ExportTraceServiceRequest.FromString(body).resource_spans]
    return [span for one in resources for scope in one.scope_spans for span in scope.spans]


BATCH = """
import airflow.settings
airflow.settings.initialize()
from types import SimpleNamespace
from uuid import uuid4
from airflow.api_fastapi.execution_api.routes.task_instances import _emit_task_span
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.execution_time.task_runner import _make_task_span
from airflow.serialization.serialized_objects import DagSerialization
from airflow.settings import task_instance_mutation_hook
from opentelemetry import trace
from darkroom.orchestration.tracing import to_child


def run(dag_id, run_id, task_id, conf):
    with DAG(dag_id) as dag:
        EmptyOperator(task_id=task_id)
    task = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag)).get_task(task_id)
    dag_run = DagRun(dag_id=dag_id, run_id=run_id, run_type="manual", conf=conf)
    for _ in range(2):  # Airflow asks again when it looks for tasks that have come or gone
        ti = TaskInstance(task, run_id=run_id, dag_version_id=uuid4())
        task_instance_mutation_hook(ti, dag_run=dag_run)
    ti.dag_run = dag_run
    with _make_task_span(SimpleNamespace(ti=ti)):
        child = to_child()
    _emit_task_span(ti, "success")
    dag_run._emit_dagrun_span("success")
    return child


conf = run("image_flow", "order-7", "start", {})
run("shard_flow", "order-7__shard000", "take_chunks", conf)
run("daily_flow", "order-8", "plan", {"traceparent": "garbage"})
trace.get_tracer_provider().force_flush()
"""


def test_all_spans_of_a_batch_are_one_trace_those_of_the_runs_that_it_started_too():
    sent = {span.name: span for span in spans(BATCH)}
    start, chunks, plan = sent["worker.start"], sent["worker.take_chunks"], sent["worker.plan"]
    assert start.trace_id == chunks.trace_id != plan.trace_id
    for dag_id, task_id in (("image_flow", "start"), ("shard_flow", "take_chunks"), ("daily_flow", "plan")):
        run, task, work = (
            sent[name] for name in (f"dag_run.{dag_id}", f"task_run.{task_id}", f"worker.{task_id}")
        )
        assert run.trace_id == task.trace_id == work.trace_id
        above = [span.parent_span_id for span in (run, task, work)]
        assert above == [b"", run.span_id, task.span_id]
    assert len({span.span_id for span in sent.values()}) == len(sent) == 9


def test_without_tracing_no_run_is_told_of_a_trace():
    from darkroom.orchestration.tracing import to_child

    assert to_child() == {}


SENTRY = """
import sys
from types import SimpleNamespace
import airflow.settings
airflow.settings.initialize()
from airflow.sdk.execution_time.sentry import Sentry
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from darkroom.errors import InvalidItem
RuntimeTaskInstance.get_task_breadcrumbs = staticmethod(lambda dag_id, run_id: [])
secret = sys.stdin.read()
ti = SimpleNamespace(sentry_integration="sentry_sdk.integrations.celery.CeleryIntegration", task=object(),
                     task_id="plan", dag_id="image_flow", try_number=2, run_id="r1")
run = SimpleNamespace(data_interval_start=None, data_interval_end=None, logical_date=None)
fails = Sentry.enrich_errors(lambda ti, context, log: (None, None, InvalidItem(f"prompt: {secret}")))
fails(ti, {"dag_run": run}, None)
Sentry.flush()
"""


def test_a_sentry_project_gets_the_error_of_a_task_by_airflows_own_code_and_no_text():
    with receiving() as project:
        project.answers = [200] * 10
        here = Settings(sentry_dsn=f"http://key@127.0.0.1:{project.server_port}/1")
        told(here, SENTRY, "a secret prompt")
        bodies = [unpacked(headers, body) for headers, body in project.got]
    assert bodies
    sent = b"".join(bodies)
    assert b"a secret prompt" not in sent
    (event,) = [json.loads(line) for line in sent.split(b"\n") if b'"exception"' in line]
    assert event["exception"]["values"][0]["type"] == "InvalidItem"
    assert event["tags"]["task_id"] == "plan"
    assert event["tags"]["code"] == "invalid_item"


LOGGED = """
from types import SimpleNamespace
import logging, sys
from airflow.sdk.log import configure_logging
configure_logging(json_output=True, output=sys.stdout.buffer)
from darkroom.orchestration.annotations import on_task_instance_running
task = SimpleNamespace(stage_name="generate", chunk_id="00042")
on_task_instance_running(SimpleNamespace(
    task=task, run_id="r1", dag_id="image_flow", task_id="flow_A.generate", try_number=2,
    get_template_context=lambda: {"params": {"batch_id": "order-7"}}))
logging.getLogger("darkroom.chunks.chunk").warning("%s failed", "a")
"""


def test_every_line_of_a_task_says_of_which_chunk_it_is():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARKROOM_LOG_FORMAT", "json")
        patch.setenv("DARKROOM_HOST", "generate-1@box")
        line = json.loads(told(Settings(), LOGGED).splitlines()[-1])
    assert line["event"] == "a failed"
    expected = {"batch": "order-7", "stage": "generate", "chunk": "00042", "host": "generate-1@box",
                "try_number": 2, "run_id": "r1", "task_id": "flow_A.generate"}  # fmt: skip
    assert expected.items() <= line.items()
