"""A folder of pictures: sorted, nothing hidden, nothing lost silently, nothing from outside."""

import os

import pytest

from darkroom.errors import BadRequest, SourceChanged
from darkroom.flows import FLOWS
from darkroom.inputs import read_input
from darkroom.records import Item, Reject
from darkroom.sources import open_source, read


@pytest.fixture
def folder(tmp_path):
    pictures = tmp_path / "pictures"
    for name in ["b.png", "a.JPG", "sub/c.webp", "sub/deep/d%20 e.jpeg", ".hidden.png", ".git/x.png"]:
        path = pictures / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return pictures


def lines_of(folder):
    return [line for _, _, line in read(open_source(str(folder), [str(folder.parent)]), FLOWS["B_C"])]


def fingerprint(source):
    reading = read(source, FLOWS["B_C"])
    for _ in reading:
        pass
    return reading.fingerprint


def test_every_visible_picture_is_an_item_in_a_stable_order(folder):
    lines = lines_of(folder)
    assert [line.custom_id for line in lines] == ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d%20 e.jpeg"]
    for item in lines:
        assert read_input(item.image, [str(folder)]) == item.custom_id.encode()


def test_what_is_no_picture_is_a_reject_with_its_place(folder, tmp_path):
    (tmp_path / "out.png").touch()
    (folder / "c.png").symlink_to(tmp_path / "gone.png")
    (folder / "d.txt").touch()
    (folder / "e.png").symlink_to("/etc/passwd")
    (folder / "f").symlink_to(folder, target_is_directory=True)
    (folder / ("g" * 250 + ".png")).touch()
    os.mkfifo(folder / "h.png")
    os.link(folder / "b.png", os.fsencode(folder) + b"/i\xff.png")
    lines = lines_of(folder)
    assert [line.custom_id for line in lines if isinstance(line, Item)] == [
        "a.JPG",
        "b.png",
        "g" * 250 + ".png",
        "sub/c.webp",
        "sub/deep/d%20 e.jpeg",
    ]
    rejects = [line for line in lines if isinstance(line, Reject)]
    assert [reject.line for reject in rejects] == [3, 4, 5, 6, 8, 9]
    for reject in rejects:
        reject.model_dump_json().encode()


def test_a_flow_that_takes_prompts_refuses_a_folder(folder):
    with pytest.raises(BadRequest, match="takes prompts"):
        read(open_source(str(folder), [str(folder)]), FLOWS["A"])


def test_a_fingerprint_changes_with_names_and_sizes(folder):
    source = open_source(str(folder), [str(folder)])
    prints = [fingerprint(source)]
    (folder / "new.png").touch()
    prints.append(fingerprint(source))
    (folder / "new.png").write_bytes(b"1")
    prints.append(fingerprint(source))
    (folder / ".hidden.png").write_bytes(b"other")
    assert fingerprint(source) == prints[-1]
    assert len(set(prints)) == 3


def test_a_folder_that_changes_while_it_is_read_is_refused(folder):
    lines = iter(read(open_source(str(folder), [str(folder)]), FLOWS["B_C"]))
    next(lines)
    (folder / "a-new.png").touch()
    with pytest.raises(SourceChanged):
        list(lines)


def test_a_folder_is_one_whatever_its_name(tmp_path):
    (tmp_path / "x.jsonl").mkdir()
    (tmp_path / "x.jsonl" / "a.png").touch()
    source = open_source("x.jsonl", [str(tmp_path)])
    assert [item.custom_id for _, _, item in read(source, FLOWS["B_C"])] == ["a.png"]
    with pytest.raises(BadRequest, match="takes prompts"):
        read(source, FLOWS["A"])
