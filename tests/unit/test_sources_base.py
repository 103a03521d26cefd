"""Only what lies under a root is read, whatever links and dots say."""

import os

import pytest

from darkroom.errors import BadRequest, SourceNotAllowed
from darkroom.flows import FLOWS
from darkroom.paging import Paged
from darkroom.records import Item
from darkroom.settings import REPOSITORY
from darkroom.sources import look_up, open_source, read

GOOD = '{"custom_id":"a","prompt":"x"}\n'


def found(source, flow="A"):
    """What the lines are."""
    return [line for _, _, line in read(source, FLOWS[flow])]


def fingerprint(source, flow="A"):
    reading = read(source, FLOWS[flow])
    for _ in reading:
        pass
    return reading.fingerprint


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "in.jsonl").write_text(GOOD)
    (tmp_path / "out.jsonl").write_text(GOOD)
    (tmp_path / "root-but-not").mkdir()
    (tmp_path / "root-but-not" / "x.jsonl").write_text(GOOD)
    return folder


def test_a_source_is_found_by_path_by_uri_and_below_a_root(root):
    named = [
        str(root / "in.jsonl"),
        (root / "in.jsonl").as_uri(),
        "in.jsonl",
        "./in.jsonl",
        f"{root}/../root/in.jsonl",
    ]
    for uri in named:
        source = open_source(uri, ["/nowhere", str(root)])
        assert source.files[0].place == (root / "in.jsonl").resolve()
        assert [item.custom_id for item in found(source)] == ["a"]


def test_a_relative_path_may_start_at_the_repository(tmp_path):
    below = (REPOSITORY / "include").resolve()
    with pytest.raises(BadRequest, match="neither a folder nor"):  # found, under the root, but no source
        open_source("include/darkroom/flows.py", [str(below)])


def test_a_name_with_spaces_and_percents_is_the_same_as_path_and_uri(root):
    path = root / "a b%20c#1?.jsonl"
    path.write_text(GOOD)
    by_uri, by_path = open_source(path.as_uri(), [root.as_uri()]), open_source(str(path), [str(root)])
    assert by_uri.files[0].place == by_path.files[0].place == path.resolve()
    assert not by_path.several


def test_what_lies_outside_is_refused_and_the_roots_are_named(root, tmp_path):
    (root / "link.jsonl").symlink_to(tmp_path / "out.jsonl")
    (root / "up").symlink_to(tmp_path)
    outside = [
        str(tmp_path / "out.jsonl"),
        f"{root}/../out.jsonl",
        "../out.jsonl",
        "link.jsonl",
        str(root / "link.jsonl"),
        "up/out.jsonl",
        str(tmp_path / "root-but-not" / "x.jsonl"),
        "/etc/passwd",
        "file:///etc/passwd",
        "s3://bucket/x.jsonl",
        "s3://bucket/*.jsonl",
        str(tmp_path / "*.jsonl"),
        "up/*.jsonl",
        "l*.jsonl",
        str(tmp_path / "is-not-there.jsonl"),
    ]
    for uri in outside:
        with pytest.raises(SourceNotAllowed, match="outside the allowed roots") as refused:
            open_source(uri, [str(root)])
        assert str(root) in str(refused.value)
    with pytest.raises(SourceNotAllowed, match="no"):
        open_source(str(root / "in.jsonl"), [])
    with pytest.raises(SourceNotAllowed, match="host"):
        open_source("file://elsewhere/x.jsonl", [str(root)])


def test_an_empty_root_allows_nothing(root, monkeypatch):
    monkeypatch.chdir(root)
    with pytest.raises(SourceNotAllowed):
        open_source(str(root / "in.jsonl"), [""])


def test_a_link_within_the_roots_is_followed(root):
    (root / "link.jsonl").symlink_to(root / "in.jsonl")
    assert open_source("link.jsonl", [str(root)]).files[0].place.name == "in.jsonl"


@pytest.mark.parametrize(
    "uri",
    [
        "missing.jsonl",
        "missing-*.jsonl",
        "x" * 300 + ".jsonl",
        "x.txt",
        "x.gz",
        "x.parquet.gz",
        "pipe.jsonl",
        "*",  # a pipe and a text are among them
        "*/../x.jsonl",
    ],
)
def test_what_is_no_source_is_a_bad_request(root, uri):
    for name in ("x.txt", "x.gz", "x.parquet.gz"):
        (root / name).touch()
    os.mkfifo(root / "pipe.jsonl")
    with pytest.raises(BadRequest) as refused:
        open_source(uri, [str(root)])
    assert not isinstance(refused.value, SourceNotAllowed)


def test_a_fingerprint_follows_the_content_not_the_time(root):
    source = open_source("in.jsonl", [str(root)])
    before = fingerprint(source)
    os.utime(source.files[0].place, (1, 1))
    assert fingerprint(source) == before
    source.files[0].place.write_text(GOOD.replace("x", "y"))
    assert fingerprint(source) != before


def test_images_of_a_line_are_looked_up_beside_the_source_and_only_under_roots(root, tmp_path):
    (root / "ok.png").touch()
    (root / "folder.png").mkdir()
    (tmp_path / "out.png").touch()
    (root / "link.png").symlink_to(tmp_path / "out.png")
    os.mkfifo(root / "pipe.png")
    good = ["ok.png", "./ok.png", f"{root}/ok.png", (root / "ok.png").as_uri(), "s3://pictures/2026/a.png"]
    bad = [
        "../out.png",
        str(tmp_path / "out.png"),
        "link.png",
        "missing.png",
        "folder.png",
        "pipe.png",
        "s3://other/a.png",
        "s3://pictures/2026/../a.png",
        "https://example.org/a.png",
        "x" * 300,
        "ok.png/x",
        "s3://pictures/2026",
    ]
    rows = [f'{{"custom_id":"{n}","image":"{image}"}}\n' for n, image in enumerate(good + bad)]
    (root / "b.jsonl").write_text("".join(rows))
    lines = found(open_source("b.jsonl", [str(root), "s3://pictures/2026"]), "B_C")
    items = [line for line in lines if isinstance(line, Item)]
    assert [item.image for item in items] == [(root / "ok.png").resolve().as_uri()] * 4 + [good[-1]]
    assert [(line.line, line.field) for line in lines[len(good) :]] == [
        (6 + n, "image") for n in range(len(bad))
    ]


def test_an_http_source_must_lie_under_the_root_of_a_table():
    url = "https://api.example.com/v1/prompts"
    pages = {"prompts": Paged(root=url, next="next")}
    look_up(f"{url}?day=2026-11-20", [], pages)
    with pytest.raises(SourceNotAllowed, match=r"lies under no root .*: https://api"):
        look_up("https://api.example.com/v2?token=hush", [], pages)
    with pytest.raises(SourceNotAllowed, match="there is no table") as refused:
        look_up(f"{url}?token=hush", [], {})
    assert "hush" not in str(refused.value)


def test_an_http_source_is_nothing_to_open():
    with pytest.raises(SourceNotAllowed, match="runs of image_flow only"):
        open_source("https://api.example.com/v1/prompts?token=hush", ["https://api.example.com"])
