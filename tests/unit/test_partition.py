import pytest
from tests.servers import s3_server

from darkroom.errors import BadRequest, SourceNotAllowed
from darkroom.plans.partition import is_there
from darkroom.store.storage import open_store


def test_a_file_a_folder_and_a_glob_are_there_when_something_is(tmp_path):
    roots = [str(tmp_path)]
    names = {"file": "2026-11-20.jsonl", "folder": "2026-11-20", "glob": "2026-11-20/*.csv"}
    assert [is_there(name, None, roots) for name in names.values()] == [False, False, False]
    (tmp_path / names["file"]).touch()
    (tmp_path / names["folder"]).mkdir()
    assert [is_there(name, None, roots) for name in names.values()] == [True, True, False]
    (tmp_path / names["folder"] / "a.csv").touch()
    assert is_there(names["glob"], None, roots)


def test_with_a_marker_only_the_marker_counts(tmp_path):
    (tmp_path / "day").mkdir()
    (tmp_path / "day" / "a.csv").touch()
    for marker in ("day/_SUCCESS", str(tmp_path / "day/_SUCCESS")):
        assert not is_there("day/*.csv", marker, [str(tmp_path)])
    (tmp_path / "day" / "_SUCCESS").touch()
    for marker in ("day/_SUCCESS", str(tmp_path / "day/_SUCCESS")):
        assert is_there("day/*.csv", marker, [str(tmp_path)])


def test_an_http_source_is_there_unless_a_marker_says_when():
    assert is_there("https://api.example.com/v1/prompts?day=2026-11-20", None, [])


def test_objects_below_a_prefix_and_a_marker_in_a_store(tmp_path, monkeypatch):
    with s3_server(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        open_store.cache_clear()
        store = open_store("s3://bucket/in")
        day, marker, roots = "s3://bucket/in/2026-11-20/", "s3://bucket/in/2026-11-20/_SUCCESS", [store.url]
        assert not is_there(day, None, roots)
        store.create("2026-11-20/part-0.jsonl", b"")
        assert is_there(day, None, roots)
        assert not is_there(day, marker, roots)
        store.create("2026-11-20/_SUCCESS", b"")
        assert is_there(day, marker, roots)
    open_store.cache_clear()


@pytest.mark.parametrize(("source", "marker"), [("/etc/passwd", None), ("a.csv", "/etc/passwd")])
def test_nothing_outside_the_roots_is_looked_for(tmp_path, source, marker):
    with pytest.raises(SourceNotAllowed):
        is_there(source, marker, [str(tmp_path)])


def test_what_can_never_be_a_source_is_refused_at_once(tmp_path):
    (tmp_path / "day.txt").touch()
    with pytest.raises(BadRequest, match="whose name ends with"):
        is_there("day.txt", None, [str(tmp_path)])
