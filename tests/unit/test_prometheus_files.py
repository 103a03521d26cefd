"""deploy/prometheus and deploy/grafana: checked by Prometheus' own tool, and against what the plant tells."""

import re
import shutil
import subprocess

import pytest
import yaml
from tests.prometheus_files import DASHBOARD, PROMETHEUS, RULES, queries
from tests.unit.exposed import read

from darkroom.settings import REPOSITORY

RUNBOOK = REPOSITORY / "docs" / "how-to" / "runbook.md"
MOSEC = {"darkroom_server_batch_size", "darkroom_server_remaining_task", "darkroom_server_throughput"}
"""Of model servers: see docs/how-to/monitor.md."""
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool; on Debian: apt-get install prometheus"
)


@promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "--syntax-only", "prometheus.yml"],
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
    ],
    ids=" ".join,
)
def test_prometheus_own_tool_is_content(arguments):
    command = ["promtool", *arguments]
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tried_both_ways_and_leads_to_its_section_of_the_runbook():
    sections = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/how-to/runbook.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("warning", "critical")
    tried = [alert for test in yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
             for alert in test["alert_rule_test"]]  # fmt: skip
    for fires in (True, False):
        assert {a["alertname"] for a in tried if bool(a.get("exp_alerts")) is fires} == set(sections)


def test_every_metric_that_a_query_names_is_one_that_the_plant_tells():
    families, samples = read()
    told = {family.name for family in families} | {name for name, *_ in samples} | MOSEC
    told |= {"darkroom_last_progress_timestamp_seconds"}  # once a chunk has told of itself
    for query in queries():
        for name in re.findall(r"darkroom_\w+", query):
            assert {name, re.sub(r"_(bucket|sum|count|total)$", "", name)} & told, f"{name} in {query}"


def test_the_dashboard_asks_whichever_prometheus_is_chosen():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    sources = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if panel["type"] != "row"}
    assert sources == {"${datasource}"}
