"""Write-once: of many writers one wins, what is there is whole, and a killed writer leaves nothing."""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from darkroom.errors import BadRequest
from darkroom.store.storage import open_store, sha256

WRITERS = 50
KEYS = [f"race/{n}" for n in range(10)]
# Not fork: obstore's threads do not survive it. The fork server imports, but uses no store.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["darkroom.store.storage"])

UPLOADER = (
    "import sys; from pathlib import Path; from darkroom.store.storage import open_store;"
    "store = open_store(sys.argv[1]); print('go', flush=True); store.upload(sys.argv[2], Path(sys.argv[3]))"
)
WRITER = (
    "import sys; from darkroom.store.storage import open_store; store = open_store(sys.argv[1]);"
    "data = bytes(int(sys.argv[3])); print('go', flush=True); store.create(sys.argv[2], data)"
)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path.as_uri())


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """An S3 server of its own, and a bucket called `bucket`, by environment variables only."""
    from tests.servers import s3_server  # not for the racing processes, which import this module

    with s3_server(tmp_path_factory.mktemp("moto")) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        open_store.cache_clear()
        yield environment
    open_store.cache_clear()


def wait_for(condition, deadline_s):
    until = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.001)


def content(writer, key):
    """Different for each writer, long enough to tear."""
    return hashlib.sha256(f"{writer} {key}".encode()).digest() * 4096


def write(url, environment, writer, start, won):
    os.environ.update(environment)
    store = open_store(url)
    start.wait(60)
    won.put((writer, [key for key in KEYS if store.create(key, content(writer, key))]))


def race(url, writers, environment=None):
    """Let processes race for all keys; the winners per key."""
    start, won = processes.Barrier(writers), processes.Queue()
    racing = [
        processes.Process(target=write, args=(url, environment or {}, writer, start, won), daemon=True)
        for writer in range(writers)
    ]
    for process in racing:
        process.start()
    winners = {key: [] for key in KEYS}
    for _ in racing:
        writer, keys = won.get(timeout=60)
        for key in keys:
            winners[key].append(writer)
    for process in racing:
        process.join(10)
    return winners


def assert_one_whole_object_each(store, winners):
    for key, writers in winners.items():
        assert len(writers) == 1, f"{key} was won by {writers}"
        assert store.read(key) == content(writers[0], key)
    assert sorted(store.list("race")) == sorted(KEYS)


def test_of_fifty_racing_processes_one_wins_each_key(store, tmp_path):
    assert_one_whole_object_each(store, race(store.url, WRITERS))
    assert sorted(path.name for path in (tmp_path / "race").iterdir()) == sorted(k[5:] for k in KEYS)


def test_of_fifty_racing_processes_on_s3_one_wins_each_key(s3):
    url = "s3://bucket/some/prefix"
    assert_one_whole_object_each(open_store(url), race(url, WRITERS, s3))


def test_a_writer_to_s3_killed_in_the_middle_leaves_nothing_or_all(s3):
    size = 100_000_000
    store = open_store("s3://bucket/killed")
    killed = 0
    for attempt in range(6):
        key = f"big/{attempt}"
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, store.url, key, str(size)],
            stdout=subprocess.PIPE,
            env={**os.environ, **s3, "PYTHONPATH": "include"},
        ) as writer:
            writer.stdout.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                writer.wait(0.02 * 2**attempt)  # anywhere between the first byte and the last
            killed += writer.poll() is None
            writer.send_signal(signal.SIGKILL)
        if store.exists(key):
            assert store.size(key) == size
        else:
            assert store.create(key, b"whole")
            assert store.read(key) == b"whole"
    assert killed, "no writer was killed in time"


def test_a_writer_killed_in_the_middle_leaves_nothing_or_all(store, tmp_path):
    size = 200_000_000
    environment = {**os.environ, "PYTHONPATH": "include"}
    for attempt in range(10):
        key = f"big/{attempt}"
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, store.url, key, str(size)], stdout=subprocess.PIPE, env=environment
        ) as writer:
            writer.stdout.readline()
            wait_for(lambda: writer.poll() is not None or any_bytes(tmp_path / "big"), 60)
            writer.send_signal(signal.SIGKILL)
        if not store.exists(key):
            break
        assert store.size(key) == size
        (tmp_path / key).unlink()
    else:
        pytest.fail("no writer was killed in time")
    assert any_bytes(tmp_path / "big"), "the killed writer left no temporary file: this test tests nothing"
    assert list(store.list("big")) == list(store.list("")) == []
    with pytest.raises(FileNotFoundError):
        store.read(key)
    assert store.create(key, b"whole")
    assert store.read(key) == b"whole"
    assert list(store.list("big")) == [key]


def test_an_upload_that_is_killed_in_the_middle_leaves_nothing_or_all(store, tmp_path):
    size = 200_000_000
    file = tmp_path / "file"
    with file.open("wb") as big:
        big.truncate(size)
    command = [sys.executable, "-c", UPLOADER, store.url, "big/file", str(file)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "include"}
    ) as writer:
        writer.stdout.readline()
        wait_for(lambda: writer.poll() is not None or any_bytes(tmp_path / "big"), 60)
        writer.send_signal(signal.SIGKILL)
    assert [store.size(path) for path in store.list("big")] in ([], [size])
    store.upload("big/file", file)
    assert store.size("big/file") == size


@pytest.mark.parametrize("kind", ["local", "s3"])
@pytest.mark.parametrize("size", [0, 100, 12_000_000])
def test_what_was_uploaded_is_read_back_whole_and_in_ranges(kind, size, request, tmp_path):
    if kind == "s3":
        request.getfixturevalue("s3")
    store = open_store("s3://bucket/uploads" if kind == "s3" else tmp_path.as_uri())
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    before = time.time()
    store.upload(f"files/{size}", tmp_path / "file")
    assert b"".join(store.stream(f"files/{size}")) == store.read(f"files/{size}") == data
    with store.open(f"files/{size}") as file:
        assert file.seek(0, os.SEEK_END) == size
        file.seek(size // 2)
        assert file.read(10) == data[size // 2 :][:10]
        file.seek(0)
        assert file.read() == data
    written = dict(store.list_written("files"))
    assert before - 2 <= written[f"files/{size}"] <= time.time() + 2  # S3 tells whole seconds
    for missing in (store.open, lambda path: list(store.stream(path))):
        with pytest.raises(FileNotFoundError, match="nothing"):
            missing("files/nothing")


def any_bytes(folder):
    return folder.exists() and any(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_store_says_the_same_wherever_it_lies(kind, request, tmp_path):
    if kind == "s3":
        request.getfixturevalue("s3")
    store = open_store("s3://bucket/other" if kind == "s3" else tmp_path.as_uri())
    assert not store.exists("a/b.json")
    assert list(store.list("a")) == []
    for missing in (store.read, store.size):
        with pytest.raises(FileNotFoundError, match=r"a/b.json"):
            missing("a/b.json")
    assert store.create_json("a/b.json", {"ü": 1})
    assert not store.create("a/b.json", b"second")
    assert store.read_json("a/b.json") == {"ü": 1}
    assert store.exists("a/b.json")
    assert store.size("a/b.json") == len(store.read("a/b.json"))
    assert store.create("a/empty", b"")
    assert store.create("ab/c", b"1")
    assert sorted(store.list("a")) == ["a/b.json", "a/empty"]
    assert store.path(store.uri("a/b.json")) == "a/b.json"
    assert store.uri("a/b.json").endswith(("/other/a/b.json", f"{tmp_path.name}/a/b.json"))
    with pytest.raises(ValueError, match="is not under"):
        store.path("file:///elsewhere/a/b.json")
    with pytest.raises(ValueError, match=r"\.\."):
        store.read("a/../../secret")


def test_two_prefixes_of_a_bucket_do_not_see_each_other(s3):
    one, two = open_store("s3://bucket/one"), open_store("s3://bucket/two")
    assert one.create("x", b"1")
    assert two.create("x", b"2")
    assert (one.read("x"), list(two.list(""))) == (b"1", ["x"])


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://host/x"])
def test_a_url_that_names_no_store_is_a_bad_request(url):
    with pytest.raises(BadRequest, match="store"):
        open_store(url)


def test_sha256_is_hex():
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_folder_that_is_no_url_is_told_how_to_be_one():
    with pytest.raises(BadRequest, match="for a folder write file:///srv/store"):
        open_store("/srv/store")
