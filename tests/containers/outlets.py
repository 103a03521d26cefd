"""Whom the plant tells: a collector, a Sentry project and a StatsD server that listen on this machine."""

import gzip
import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.containers.engine import prove, run, until
from tests.containers.plant import Plant
from tests.receiver import Receiver, receiving

_TOLD_S = 180


class Listener:
    """All three at one address."""

    def __init__(self, address: str, http: Receiver, statsd: socket.socket) -> None:
        self._http, self._statsd = http, statsd
        self._datagrams: list[bytes] = []
        web, udp = f"{address}:{http.server_port}", f"{address}:{statsd.getsockname()[1]}"
        self.settings = {
            "DARKROOM_LOG_FORMAT": "json",
            "DARKROOM_OTLP_ENDPOINT": f"http://{web}",
            "DARKROOM_STATSD": udp,
            "DARKROOM_SENTRY_DSN": f"http://key@{web}/1",
        }

    def keep(self) -> None:
        while datagram := self._statsd.recv(65536):
            self._datagrams.append(datagram)

    def posted(self, path: str) -> bytes:
        """All that came to a path, unpacked."""
        posts = [post for at, post in zip(self._http.paths, self._http.got, strict=False) if path in at]
        return b"\n".join(
            gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
            for headers, body in posts
        )

    def metrics(self) -> bytes:
        return b"\n".join(self._datagrams)


@contextmanager
def listening(address: str) -> Iterator[Listener]:
    with receiving(address) as http, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind((address, 0))
        listener = Listener(address, http, statsd)
        threading.Thread(target=listener.keep, daemon=True).start()
        yield listener


def check_outlets(plant: Plant, listener: Listener) -> None:
    """One run that fails, as its source is not there, is enough for all of them."""
    run_id = f"fails-{secrets.token_hex(3)}"
    plant.start(run_id, "A_C", "examples/not-there.jsonl")
    assert plant.api.wait("image_flow", run_id, _TOLD_S) == "failed"
    until("Sentry has the error of plan", lambda: b'"task_id":"plan"' in sentry(listener), _TOLD_S)
    assert b"not-there" not in listener.posted("/api/1/"), "Sentry was told what a message says"
    until("the collector has a trace", lambda: b"worker.plan" in listener.posted("/v1/traces"), _TOLD_S)
    until("StatsD has metrics", lambda: b"dag_id:image_flow" in listener.metrics(), _TOLD_S)
    services = ("scheduler", "dag-processor", "triggerer", "light", "capacity")
    plain = [service for service in services if not has_json_log(plant, service)]
    assert not plain, f"their logs are text: {plain}"
    prove(
        "by one setting each in .env Sentry gets an error, without its text; an OpenTelemetry collector "
        f"spans; StatsD tagged metrics; the logs of {', '.join(services)} are JSON"
    )


def sentry(listener: Listener) -> bytes:
    return listener.posted("/api/1/").replace(b'": "', b'":"')


def has_json_log(plant: Plant, service: str) -> bool:
    log = run(["podman", "logs", "--tail=400", plant.container(service)], check=False)
    for line in log.splitlines():
        try:
            if isinstance(json.loads(line), dict):
                return True
        except ValueError:
            continue
    return False
