"""One page from a real HTTP server: what it must be, and how it may fail."""

import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from tests import paging_api

from darkroom.errors import PageAway, PageDelayed, PageRefused
from darkroom.paging import Paged
from darkroom.sources.paged import WAIT_S, ask, wait_s


@pytest.fixture
def api():
    with paging_api.api() as server:
        server.fill(2)
        yield server


def asked(api, headers=None, **more):
    return ask(Paged(**api.chain(**more)), f"{api.root}/chain?secret=hush", headers or {})


def test_a_page_is_the_json_that_the_api_gives(api):
    assert [item["id"] for item in asked(api, {"X-Api-Key": "k"})["data"]] == ["p1-1", "p1-2"]
    headers = {name.lower(): value for name, value in api.headers[0].items()}
    assert headers["x-api-key"] == "k"
    assert headers["host"] == f"127.0.0.1:{api.server_port}"
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("told", "wait"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        ("Sat, 21 Nov 2026 22:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 21:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(told, wait):
    assert wait_s(told, datetime(2026, 11, 21, 22, tzinfo=UTC)) == wait


@pytest.mark.parametrize("status", [429, 503])
def test_later_with_a_time_is_later_then(api, status):
    api.answers[1] = [(status, {"Retry-After": "7"})]
    with pytest.raises(PageDelayed) as caught:
        asked(api)
    assert caught.value.wait_s == 7
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    api.answers[1] = [(status, {"Retry-After": when})]
    with pytest.raises(PageDelayed) as caught:
        asked(api)
    assert 90 < caught.value.wait_s <= 100


def test_later_without_a_time_is_a_little_later(api):
    api.answers[1] = [429]
    with pytest.raises(PageDelayed) as caught:
        asked(api)
    assert caught.value.wait_s == WAIT_S


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(api, status):
    api.answers[1] = [status]
    with pytest.raises(PageAway, match=str(status)) as caught:
        asked(api)
    assert caught.value.retryable
    assert not isinstance(caught.value, PageDelayed)


@pytest.mark.parametrize("status", [204, 301, 302, 307, 308, 400, 401, 403, 404, 410, 501])
def test_what_will_not_pass_is_refused_and_a_redirect_not_followed(api, status):
    api.answers[1] = [status]
    with pytest.raises(PageRefused, match=str(status)) as caught:
        asked(api)
    assert not caught.value.retryable
    assert sum(api.asked.values()) == 1


@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_an_answer_that_takes_too_long_is_tried_again(api, answer):
    api.answers[1] = [answer]
    with pytest.raises(PageAway):
        asked(api, page_timeout_s=0.4)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"data": [', b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000, b"1" * 10_000]
)
def test_what_is_no_json_is_refused(api, body):
    api.answers[1] = [body]
    with pytest.raises(PageRefused, match="not JSON"):
        asked(api)


def test_an_answer_of_too_many_bytes_is_refused_before_it_is_read(api):
    api.answers[1] = [json.dumps("x" * 5_000_000).encode()]
    with pytest.raises(PageRefused, match="max_page_bytes 1,000"):
        asked(api, max_page_bytes=1000)


def test_a_packed_answer_is_refused(api):
    api.answers[1] = [(200, {"Content-Encoding": "gzip"})]
    with pytest.raises(PageRefused, match="packed"):
        asked(api)


def test_nobody_there_is_tried_again(api):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(PageAway, match="ConnectError"):
        ask(Paged(root=nobody, next="n"), f"{nobody}/a", {})


def test_a_host_of_a_private_network_is_asked_only_where_that_is_named(api, monkeypatch):
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **more: real("127.0.0.1", *rest, **more))
    root = f"http://prompts.example.com:{api.server_port}/v1"
    with pytest.raises(PageRefused, match="not public"):
        ask(Paged(root=root, next="n"), f"{root}/chain", {})
    assert not api.asked
    assert ask(Paged(root=root, next="n", networks=["127.0.0.0/8"]), f"{root}/chain", {})["data"]
    with pytest.raises(PageRefused, match="not among those allowed"):
        ask(
            Paged(root=root, next="n", networks=["127.0.0.0/8"]),
            f"http://evil.example.com:{api.server_port}/",
            {},
        )


def test_what_follows_the_question_mark_and_who_asks_are_in_no_message(api):
    for answer in (500, 404, (429, {}), b"x", 302):
        api.answers[1] = [answer]
        with pytest.raises((PageAway, PageRefused)) as caught:
            asked(api, {"Authorization": "Bearer hush"})
        assert "hush" not in str(caught.value)
