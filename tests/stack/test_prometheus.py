"""A real Prometheus scrapes a real plant: every query that we ship finds what it is about."""

import json
import shutil
import subprocess
import time
from contextlib import contextmanager

import httpx
import pytest
import yaml

from darkroom.live.totals import Totals
from darkroom.stack.layout import PROGRESS
from tests.prometheus_files import PROMETHEUS, RULES, queries
from tests.servers import free_port
from tests.stack.plant import finished, source, started, until

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs Prometheus; on Debian: apt-get install prometheus"
)


@contextmanager
def prometheus(stack, folder):
    """The shipped configuration, with this plant's address and files; the URL of its API."""
    told = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    told["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    told["rule_files"] = [str(PROMETHEUS / "rules.yml")]
    plant, servers = told["scrape_configs"]
    plant["authorization"]["credentials_file"] = str(stack.home.metrics_token)
    plant["static_configs"][0]["targets"] = [stack.addresses.api_url.removeprefix("http://")]
    servers["file_sd_configs"][0]["files"] = [str(stack.home.path / "run" / "prometheus" / "*.json")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(told))
    port = free_port()
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1") as client:
                until(lambda: process.poll() is not None or _answers(client), "Prometheus answers", 30)
                yield client
        finally:
            process.terminate()


def _answers(client):
    try:
        return client.get("/status/runtimeinfo").is_success
    except httpx.TransportError:
        return False


def ask(client, query):
    """What a query finds now: labels and value."""
    answer = client.get("/query", params={"query": query}).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]


def test_every_query_finds_what_it_is_about_in_a_plant_that_has_worked(stack, tmp_path):
    with prometheus(stack, tmp_path) as client:
        totals = Totals(stack.addresses.redis_url(PROGRESS))
        until(lambda: ask(client, 'up{job="darkroom"} == 1'), "the plant is scraped")
        before = totals.read()
        items = [{"custom_id": f"p{n}", "prompt": "a large red circle", "seed": time.time_ns() % 2**31 + n}
                 for n in range(12)]  # fmt: skip
        _, summary = finished(
            started("A_C", source("scraped.jsonl", "\n".join(map(json.dumps, items))), respins=0)
        )
        done = ("items", "inspect", "completed")
        assert totals.read()[done] - before.get(done, 0) == summary.completed

        def caught_up():
            found = ask(client, 'darkroom_items_total{stage="inspect", outcome="completed"}')
            return found and found[0][1] == totals.read()[done]

        until(caught_up, "Prometheus has seen the batch")
        found = {query: ask(client, query) for query in queries()}
        servers = {server["server"] for server, _ in ask(client, 'up{job="darkroom-servers"} == 1')}
        assert {"generate-1", "enhance-1", "inspect-1", "inspect-2"} <= servers
        silent = {query for query, results in found.items() if not results}
        # What has not happened, or is not there: alerts, GPUs, a bottleneck, chunks that wait or failed.
        assert silent <= {rule["expr"] for rule in RULES} | {
            query for query in found if any(word in query for word in MAY_BE_SILENT)
        }, silent
        rules = client.get("/rules").json()["data"]["groups"][0]["rules"]
        assert {rule["health"] for rule in rules} == {"ok"}
        assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


MAY_BE_SILENT = (
    "gpu", "bottleneck", "time_left", "wait_", "darkroom_batches)", "utilisation", "_errors_", "failed",
    "darkroom_batches_late", "darkroom_items_found", "last_progress", "wasted",
)  # fmt: skip
