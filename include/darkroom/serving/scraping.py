"""Where a Prometheus on this host finds the metrics of a model server: mosec's own, at its `/metrics`.

The servers listen on loopback, so that is a Prometheus, or an agent of one, on the same host. It reads the
folder with these files by `file_sd_configs`.
Source: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config
"""

import json
import logging
from pathlib import Path
from urllib.parse import urlsplit

from darkroom.serving.status import ServerStatus, replace_file

log = logging.getLogger("supervisor")


def targets_file(home: Path, name: str) -> Path:
    """The file of a server, below the state folder of its host."""
    return home / "run" / "prometheus" / f"{name}.json"


def write_targets(path: Path, status: ServerStatus) -> None:
    """Say where the server listens, and what it is."""
    labels = {"stage": status.stage, "host": status.host, "server": status.name}
    try:
        replace_file(path, json.dumps([{"targets": [urlsplit(status.url).netloc], "labels": labels}]))
    except OSError as error:  # a full disk is no reason to start no server
        log.warning("%s: not written: %s", path, error)
