import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from pictures import encode, halves

from darkroom.errors import (
    DarkroomError,
    InvalidImage,
    InvalidItem,
    ServerAway,
    ServerBusy,
    ServerGone,
    ServerTimeout,
    StageFailed,
)
from darkroom.flows import STAGES
from darkroom.serving.client import StageClient
from darkroom.settings import REPOSITORY
from darkroom.stages.base import Request
from darkroom.stages.generate import Generate

READY_S = 30
NOOP = "darkroom.stages.noop:Noop"
PUPPET = "serving_stages:Puppet"


class Running:
    """A model server in a process of its own."""

    def __init__(self, stage: str, implementation: str | None, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "darkroom.serving.server", f"--stage={stage}", f"--port={self.port}"]
        if implementation:
            command.append(f"--implementation={implementation}")
        paths = os.pathsep.join([str(REPOSITORY / "include"), str(Path(__file__).parent)])
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": paths, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def client(self, deadline_s: float = 20) -> StageClient:
        return StageClient(self.url, deadline_s)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def worker(self) -> psutil.Process:
        return next(child for child in self.children() if "spawn_main" in " ".join(child.cmdline()))


@contextmanager
def running(stage: str = "generate", implementation: str | None = PUPPET, **environment: str):
    server = Running(stage, implementation, **environment)
    try:
        with server.client() as client:
            client.wait_until_healthy(READY_S)
        yield server
    finally:
        family = [server.process, *(server.children() if server.process.poll() is None else [])]
        for process in family:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                process.kill()
        server.process.communicate(timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, deadline_s: float = 10) -> None:
    until = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < until, "the condition did not come true in time"
        time.sleep(0.02)


def in_background(function) -> threading.Thread:
    def run() -> None:
        with suppress(DarkroomError):
            function()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def generate():
    with running("generate", None) as server:
        yield server


@pytest.fixture(scope="module")
def puppet():
    """One that no test hangs or kills."""
    with running() as server:
        yield server


def test_pictures_come_through_the_server_as_the_stage_drew_them(generate):
    stage = Generate()
    stage.load()
    prompt = "a red ring on a blue background"
    requests = [Request(str(i), prompt=prompt, seed=i, options={"steps": 2}) for i in range(12)]
    with generate.client() as client, ThreadPoolExecutor(6) as pool:
        outputs = list(pool.map(client.run, requests))
    assert outputs == stage.run(requests)


def test_a_bad_item_fails_alone_among_others(generate):
    prompt = "a red ring on a blue background"
    good = [Request(str(i), prompt=prompt, seed=i, options={"steps": 1}) for i in range(4)]
    bad = Request("bad", prompt=prompt, options={"stepz": 1})

    def outcome(client, request):
        try:
            return len(client.run(request).image) > 0
        except InvalidItem as error:
            return str(error)

    with generate.client() as client, ThreadPoolExecutor(5) as pool:
        outcomes = list(pool.map(lambda request: outcome(client, request), [*good[:2], bad, *good[2:]]))
    assert outcomes[:2] + outcomes[3:] == [True] * 4
    assert outcomes[2].startswith("options.stepz: ")


def test_enhance_and_inspect_work_one_after_the_other():
    with running("enhance", None) as enhance, running("inspect", None) as inspect:
        with enhance.client() as client:
            enhanced = client.run(Request("a", image=encode(halves())))
            with pytest.raises(InvalidImage, match="empty"):
                client.run(Request("b"))
        with inspect.client() as client:
            verdict = client.run(Request("a", image=enhanced.image)).verdict
    assert verdict is not None
    assert verdict.accepted
    assert (verdict.checks["width"], verdict.checks["height"]) == (160, 80)


def test_concurrent_requests_share_a_batch_and_keep_their_answers(puppet):
    requests = [Request(str(i), prompt="echo", image=bytes([i])) for i in range(64)]
    with puppet.client() as client, ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(client.run, requests))
    assert [output.image for output in outputs] == [request.image for request in requests]
    assert [output.details["id"] for output in outputs] == [request.custom_id for request in requests]
    sizes = [output.details["batch"] for output in outputs]
    assert 1 < max(sizes) <= STAGES["generate"].batch_size


def test_an_upload_of_30_megabytes_is_taken(puppet):
    data = os.urandom(30 << 20)
    with puppet.client() as client:
        assert client.run(Request("a", image=data)).image == data


def test_an_upload_over_the_limit_is_the_items_fault(puppet):
    with puppet.client() as client, pytest.raises(InvalidItem, match=r"image: .* 65.0 MB, .* at most 64 MB"):
        client.run(Request("a", image=bytes(65 << 20)))


@pytest.mark.parametrize("body", [b"hello", b"\x02\0\0\0[]", b"\xff\xff\xff\xff"])
def test_a_body_that_is_no_frame_gets_a_client_error_that_says_so(puppet, body):
    response = httpx.post(f"{puppet.url}/inference", content=body)
    assert response.status_code == 422
    assert "frame" in response.text


def test_a_wrong_field_is_named(puppet):
    with puppet.client() as client, pytest.raises(InvalidItem, match=r"item\.width"):
        client.run(Request("a", prompt="echo", width=100_000))


def test_an_error_of_the_whole_batch_can_be_tried_again_and_the_server_lives_on(puppet):
    with puppet.client() as client:
        with pytest.raises(StageFailed) as caught:
            client.run(Request("a", prompt="raise"))
        assert caught.value.retryable
        assert client.healthy()


def test_the_server_listens_on_the_loopback_only(puppet):
    listening = [c.laddr for p in puppet.children() for c in p.net_connections("tcp") if c.status == "LISTEN"]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", puppet.port)]


def test_a_hanging_server_is_unhealthy_and_a_full_one_says_busy():
    with running() as server:
        capacity = STAGES["generate"].batch_size * 4
        with server.client() as client:
            assert client.healthy(5)
            for _ in range(capacity * 2):
                in_background(lambda: client.run(Request("a", prompt="hang")))
            with server.client(deadline_s=10) as other:

                def is_full() -> bool:
                    try:
                        other._send(b"x", timeout_s=0.2)
                    except ServerBusy:
                        return True
                    except DarkroomError:
                        return False
                    return False

                wait_for(is_full)
            with pytest.raises(ServerBusy):
                client.run(Request("a", prompt="echo"))
            assert httpx.get(server.url).status_code == 200
            assert not client.healthy(0.5)


def test_no_answer_within_the_deadline_is_a_timeout():
    with running() as server, server.client(deadline_s=0.3) as client:
        started = time.monotonic()
        with pytest.raises(ServerTimeout):
            client.run(Request("a", prompt="hang"))
        assert time.monotonic() - started < 5


def test_a_closed_port_is_a_server_that_is_gone():
    with StageClient(f"http://127.0.0.1:{free_port()}", 5) as client:
        with pytest.raises(ServerGone):
            client.run(Request("a"))
        assert not client.healthy(0.5)
        started = time.monotonic()
        with pytest.raises(ServerGone):
            client.wait_until_healthy(0.5)
        assert 0.3 < time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, ServerGone),
        (404, ServerGone),
        (408, ServerTimeout),
        (413, InvalidItem),
        (422, InvalidItem),
        (429, ServerBusy),
        (500, StageFailed),
        (502, ServerGone),
        (503, ServerAway),
    ],
)
def test_every_status_has_its_error(status, error):
    client = StageClient("http://test", 1)
    client._http = httpx.Client(
        base_url="http://test", transport=httpx.MockTransport(lambda _: httpx.Response(status, text="what"))
    )
    with client, pytest.raises(error) as raised:
        client.run(Request("a"))
    assert type(raised.value) is error


def test_asked_to_stop_it_finishes_what_is_in_flight_and_exits_with_0():
    with running("generate", NOOP, DARKROOM_NOOP_MS="700") as server, server.client() as client:
        with ThreadPoolExecutor(1) as pool:
            in_flight = pool.submit(client.run, Request("a"))
            with server.client() as probe:
                # A second request can only be answered late when the first is in the worker.
                assert not probe.healthy(0.2)
            server.process.send_signal(signal.SIGTERM)
            assert in_flight.result(timeout=10).verdict.accepted
        assert server.process.wait(timeout=10) == 0
        with pytest.raises(ServerAway):
            client.run(Request("b"))


def test_its_worker_killed_the_server_ends_with_an_error_and_frees_the_port():
    with running() as server:
        front = [child for child in server.children() if child.name() == "mosec"]
        server.worker().kill()
        assert server.process.wait(timeout=15) == 1
        wait_for(lambda: not any(process.is_running() for process in front))
        with server.client() as client, pytest.raises(ServerGone):
            client.run(Request("a"))


def test_a_request_that_kills_its_server_is_told_so_and_waits_for_no_deadline():
    with running() as server, server.client(deadline_s=60) as client:
        with pytest.raises(ServerGone, match="disconnected"):
            client.run(Request("a", prompt="die"))
        assert server.process.wait(timeout=15) == 1


def test_the_server_killed_leaves_no_orphan_that_keeps_the_port():
    with running() as server:
        children = server.children()
        (front,) = [child for child in children if child.name() == "mosec"]
        folder = Path(front.cmdline()[1]).parent
        assert folder.is_dir()
        server.process.kill()
        server.process.wait(timeout=5)
        wait_for(lambda: not any(child.is_running() for child in children))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", server.port))
        assert not folder.exists()


@pytest.mark.parametrize(
    ("implementation", "message"), [("Unloadable", "no such device"), ("Sick", "told to fail")]
)
def test_a_stage_that_can_not_load_or_run_its_sample_ends_the_server_and_says_why(implementation, message):
    server = Running("generate", f"serving_stages:{implementation}")
    try:
        log, _ = server.process.communicate(timeout=READY_S)
    finally:
        server.process.kill()
    assert server.process.returncode == 1
    assert message in log
