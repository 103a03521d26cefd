"""Where the plant's own news go: the settings of ours that switch on what Airflow has built in."""

from urllib.parse import urlsplit

from darkroom.errors import BadRequest
from darkroom.settings import Settings

_STATSD_PORT = 8125


def outlets(here: Settings) -> dict[str, str]:
    """The environment that makes Airflow's processes, and its tasks, tell whom the settings name.

    Raises:
        BadRequest: a setting is no address.
    """
    return {**_logs(here), **_telemetry(here), **_statsd(here), **_sentry(here)}


def _logs(here: Settings) -> dict[str, str]:
    return {"AIRFLOW__LOGGING__JSON_LOGS": "True"} if here.log_format == "json" else {}


def _telemetry(here: Settings) -> dict[str, str]:
    """Airflow's own options for an address are deprecated: OpenTelemetry's variables are the way."""
    if not here.otlp_endpoint:
        return {}
    if urlsplit(here.otlp_endpoint).scheme not in ("http", "https"):
        raise BadRequest(f"otlp_endpoint {here.otlp_endpoint!r}: such as http://127.0.0.1:4318")
    return {
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "AIRFLOW__TRACES__OTEL_ON": "True",
        # Their names hold DAGs and tasks, which the tags of the others hold, too.
        "AIRFLOW__METRICS__LEGACY_NAMES_ON": "False",
        "OTEL_EXPORTER_OTLP_ENDPOINT": here.otlp_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_SERVICE_NAME": "darkroom",
    }


def _statsd(here: Settings) -> dict[str, str]:
    if not here.statsd:
        return {}
    try:
        address = urlsplit(f"//{here.statsd}")
        host, port = address.hostname, address.port or _STATSD_PORT
    except ValueError:
        host = None
    if not host:
        raise BadRequest(f"statsd {here.statsd!r}: such as 127.0.0.1:8125")
    return {
        "AIRFLOW__METRICS__STATSD_DATADOG_ENABLED": "True",
        "AIRFLOW__METRICS__STATSD_HOST": host,
        "AIRFLOW__METRICS__STATSD_PORT": str(port),
        "AIRFLOW__METRICS__LEGACY_NAMES_ON": "False",
    }


def _sentry(here: Settings) -> dict[str, str]:
    """Beside it `orchestration/scrubbing.py` sees to it that no item's text leaves."""
    if not here.sentry_dsn.get_secret_value():
        return {}
    return {
        "AIRFLOW__SENTRY__SENTRY_ON": "True",
        "AIRFLOW__SENTRY__SENTRY_DSN": here.sentry_dsn.get_secret_value(),
        "AIRFLOW__SENTRY__INCLUDE_LOCAL_VARIABLES": "False",
        "AIRFLOW__SENTRY__MAX_BREADCRUMBS": "0",
        # They would add to an event what was taken out, such as the command line.
        "AIRFLOW__SENTRY__DEFAULT_INTEGRATIONS": "False",
        "AIRFLOW__SENTRY__AUTO_ENABLING_INTEGRATIONS": "False",
    }
