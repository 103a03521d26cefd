"""What obstore says is told as the store's callers know it, and a forked child is refused."""

import os
import subprocess
import sys

import pytest

from darkroom.errors import StoreUnavailable
from darkroom.store.storage import open_store

S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


def test_a_store_that_is_away_is_told_as_such(monkeypatch):
    for name, value in {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    open_store.cache_clear()
    store = open_store("s3://away/x")
    monkeypatch.undo()
    open_store.cache_clear()
    for call in (lambda: store.create("a", b""), lambda: store.read("a"), lambda: store.exists("a")):
        with pytest.raises(StoreUnavailable):
            call()


def test_a_folder_in_the_way_is_no_object(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises((FileNotFoundError, StoreUnavailable)):
        open_store(tmp_path.as_uri()).read("a/b")


def test_a_forked_child_is_refused_instead_of_hanging(tmp_path):
    code = (
        "import os, sys; from darkroom.store.storage import open_store; store = open_store(sys.argv[1])\n"
        "store.create('a', b'1')\n"
        "if os.fork() == 0:\n"
        "    try: store.create('b', b'2')\n"
        "    except RuntimeError: os._exit(7)\n"
        "    os._exit(8)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))"
    )
    environment = {**os.environ, "PYTHONPATH": "include"}
    ended = subprocess.run(
        [sys.executable, "-c", code, tmp_path.as_uri()], env=environment, timeout=30, check=False
    )
    assert ended.returncode == 7
