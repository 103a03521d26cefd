"""A picture is read only from under a root, however its name is dressed up."""

import os

import pytest

from darkroom import inputs
from darkroom.errors import InvalidImage, InvalidItem, StoreUnavailable
from darkroom.inputs import open_allowed, read_input
from darkroom.store.storage import open_store


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a b%20#?.png").write_bytes(b"picture")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return folder


def test_paths_and_uris_under_a_root_are_read(root):
    path = root / "sub" / "a b%20#?.png"
    for uri in (str(path), path.as_uri(), path.as_uri().replace("file://", "file://localhost")):
        for allowed in (str(root), root.as_uri()):
            assert read_input(uri, ["/nowhere", allowed]) == b"picture"


def test_whatever_leads_out_of_the_roots_is_refused(root, tmp_path):
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "loop.png").symlink_to(root / "loop.png")
    for uri in [
        str(tmp_path / "secret.png"),
        f"{root}/../secret.png",
        (root / "link.png").as_uri(),
        f"{root}/up/secret.png",
        f"file://{root}/%2e%2e/secret.png",
        "file://host/secret.png",
        f"{root}\0.png",
        "/dev/zero",
        "https://x/y.png",
        f"{root}/loop.png",
        f"{root}/missing.png",
        f"{root}/sub/a b%20#?.png/x",
        "s3://bucket/x.png",
        "",
    ]:
        with pytest.raises((InvalidItem, InvalidImage)):
            read_input(uri, [str(root)])


def test_a_link_put_in_place_after_the_check_is_not_followed(root, tmp_path, monkeypatch):
    resolved = inputs.allowed(root / "sub" / "a b%20#?.png", [str(root)])
    monkeypatch.setattr(inputs, "allowed", lambda *_: resolved)
    (root / "sub").rename(root / "moved")
    (root / "sub").symlink_to(tmp_path)
    (tmp_path / "a b%20#?.png").write_bytes(b"secret")
    with pytest.raises(OSError, match="sub"):
        open_allowed(root / "sub" / "a b%20#?.png", [str(root)])


def test_what_is_no_regular_file_is_refused_at_once(root):
    os.mkfifo(root / "pipe.png")
    for name in ("pipe.png", "sub"):
        with pytest.raises(InvalidImage, match="regular"):
            read_input(str(root / name), [str(root)])


def test_what_is_too_large_is_refused_before_it_is_held(root, monkeypatch):
    with (root / "huge.png").open("wb") as file:
        file.truncate(inputs.MAX_INPUT_BYTES + 1)
    with pytest.raises(InvalidImage, match="64 MB"):
        read_input(str(root / "huge.png"), [str(root)])
    monkeypatch.setattr(inputs, "MAX_INPUT_BYTES", 7)
    assert read_input(str(root / "sub" / "a b%20#?.png"), [str(root)]) == b"picture"


def test_a_disk_that_fails_is_not_the_items_fault(root, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(inputs, "open_allowed", broken)
    with pytest.raises(StoreUnavailable):
        read_input(str(root / "sub" / "a b%20#?.png"), [str(root)])


def test_a_store_as_root_is_read_below_its_prefix_only(tmp_path, monkeypatch):
    """On local disk for want of a bucket: what counts is how the URI is taken apart."""
    store = open_store(tmp_path.as_uri())
    store.create("2026/a.png", b"picture")
    monkeypatch.setattr(inputs, "open_store", lambda root: store)
    assert read_input("s3://pictures/x/2026/a.png", ["s3://pictures/x"]) == b"picture"
    for uri in [
        "s3://pictures/x/../y/a.png",
        "s3://pictures/xy/a.png",
        "s3://pictures/x/",
        "s3://pictures/x/missing.png",
    ]:
        with pytest.raises(InvalidItem):
            read_input(uri, ["s3://pictures/x/"])
    monkeypatch.setattr(inputs, "MAX_INPUT_BYTES", 6)
    with pytest.raises(InvalidImage):
        read_input("s3://pictures/x/2026/a.png", ["s3://pictures/x"])
