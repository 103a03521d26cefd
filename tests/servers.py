"""Real servers for tests: one process each, on free ports; a model server is ready when a canary is."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from darkroom.flows import STAGES
from darkroom.serving.client import StageClient


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def model_server(stage: str, *arguments: str, deadline_s: float = 60) -> Iterator[str]:
    """The URL of a server of `stage`; it is ended, children and all, at the end."""
    port = free_port()
    command = [sys.executable, "-m", "darkroom.serving.server", "--stage", stage, "--port", str(port)]
    process = subprocess.Popen([*command, *arguments], start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        with StageClient(url, STAGES[stage].deadline_s) as client:
            client.wait_until_healthy(deadline_s)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def model_servers(*stages: str) -> Iterator[dict[str, str]]:
    """URLs by stage."""
    with ExitStack() as stack:
        yield {stage: stack.enter_context(model_server(stage)) for stage in stages}


@contextmanager
def valkey_server(folder: Path) -> Iterator[str]:
    """The URL of a Valkey without any data; it is killed at the end."""
    from darkroom.stack.valkey import program  # not where only model servers are tested

    port = free_port()
    command = [str(program()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        with redis.Redis.from_url(url, retry=Retry(ConstantBackoff(0.05), 200)) as client:
            client.ping()
        yield url
    finally:
        process.kill()
        process.wait()


@contextmanager
def s3_server(folder: Path, deadline_s: float = 30) -> Iterator[dict[str, str]]:
    """The environment that leads to an S3 server of its own with a bucket called `bucket`."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "s3.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until = time.monotonic() + deadline_s
        while not _answers(f"{endpoint}/moto-api/"):
            assert server.poll() is None and time.monotonic() < until, log.name
            time.sleep(0.01)
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT"))
        yield {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ENDPOINT_URL": endpoint,
        }
    finally:
        server.kill()
        server.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1)
    except OSError:
        return False
    return True
