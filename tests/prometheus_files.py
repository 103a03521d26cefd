"""What we ship for Prometheus and Grafana."""

import json

import yaml

from darkroom.settings import REPOSITORY

PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
(GROUP,) = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
RULES = GROUP["rules"]
DASHBOARD = json.loads((REPOSITORY / "deploy" / "grafana" / "dashboards" / "darkroom.json").read_text())


def queries():
    """All PromQL that we ship."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return [rule["expr"] for rule in RULES] + panels
