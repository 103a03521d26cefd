"""What Airflow gets from us: an app for its api-server, links for its UI, nothing that slows its tasks."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from darkroom.orchestration.links import ContactSheet, Manifest

LOAD = """
import json, sys
from airflow.sdk.plugins_manager import _get_plugins
plugins, errors = _get_plugins()
heavy = [m for m in ("fastapi", "obstore", "pyarrow", "PIL", "numpy") if m in sys.modules]
from airflow.plugins_manager import get_fastapi_plugins
apps = {app["url_prefix"]: len(app["app"].routes) for app in get_fastapi_plugins()[0]}
from airflow.plugins_manager import _get_ui_plugins
views = [view["href"] for view in _get_ui_plugins()[0]]
names = [plugin.name for plugin in plugins]
print("LOADED", json.dumps({"names": names, "errors": errors, "heavy": heavy, "apps": apps, "views": views}))
"""


def test_the_plugin_is_light_until_the_api_server_asks_for_its_app():
    out = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True).stdout
    line = next(line for line in out.splitlines() if line.startswith("LOADED"))
    found = json.loads(line.removeprefix("LOADED"))
    assert "darkroom" in found["names"]
    assert found["errors"] == {}
    assert found["heavy"] == []
    assert found["apps"]["/darkroom"] >= 3
    assert found["views"] == ["darkroom/"]


@pytest.mark.parametrize(
    ("base_url", "prefix"),
    [
        ("http://127.0.0.1:8080", ""),
        ("https://plant.example.com/air/", "/air"),
    ],
)
def test_links_are_paths_on_whatever_name_the_server_is_reached_by(monkeypatch, base_url, prefix):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    context = {"params": {"batch_id": None}, "run_id": "order-7"}
    ended = SimpleNamespace(get_template_context=lambda: context)
    found = [link.get_link(None, ti_key=ended) for link in (ContactSheet(), Manifest())]
    page = f"{prefix}/darkroom/batches/order-7"
    assert found == [page, f"{page}/files/manifest.parquet"]
