from pathlib import Path

from darkroom.settings import REPOSITORY, Settings


def test_paths_mean_the_same_from_every_working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKROOM_HOME", "mine")
    monkeypatch.setenv("DARKROOM_SOURCE_ROOTS", '["inputs", "~/pictures", "s3://bucket/in"]')
    found = Settings()
    assert found.home == tmp_path / "mine"
    assert found.store_url == (tmp_path / "mine" / "store").as_uri()
    assert found.source_roots == [
        str(REPOSITORY / "inputs"),
        str(Path("~/pictures").expanduser()),
        "s3://bucket/in",
    ]


def test_an_empty_variable_is_an_unset_one(monkeypatch):
    monkeypatch.setenv("DARKROOM_HOME", "")
    assert Settings().home == REPOSITORY / ".darkroom"
