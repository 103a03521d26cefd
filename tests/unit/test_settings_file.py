import pytest

from darkroom.errors import BadRequest
from darkroom.loading import load_class
from darkroom.settings import settings


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes `darkroom.toml` and gives the settings that follow from it."""
    path = tmp_path / "darkroom.toml"
    monkeypatch.setenv("DARKROOM_CONFIG", str(path))

    def write(text):
        path.write_text(text)
        settings.cache_clear()
        return settings()

    yield write
    settings.cache_clear()


def test_settings_stages_and_flows_come_from_the_file(config):
    read = config('threads = 3\n[stages.sepia]\nmodel = "sepia@1"\n[flows.A_S]\nstages = ["generate"]\n')
    assert read.threads == 3
    assert read.stages == {"sepia": {"model": "sepia@1"}}
    assert read.flows == {"A_S": {"stages": ["generate"]}}


def test_the_environment_wins_over_the_file(config, monkeypatch):
    monkeypatch.setenv("DARKROOM_THREADS", "5")
    assert config("threads = 3").threads == 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("threads = no", "darkroom.toml is not TOML: .*line 1"),
        ("threads = 0", "threads: .*greater than or equal to 1"),
        ("thraeds = 1", "thraeds: there is no such setting"),
    ],
)
def test_a_wrong_file_is_one_clear_error(config, text, told):
    with pytest.raises(BadRequest, match=told):
        config(text)


def test_a_file_that_was_named_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKROOM_CONFIG", str(tmp_path / "none.toml"))
    settings.cache_clear()
    with pytest.raises(BadRequest, match=r"DARKROOM_CONFIG: there is no file .*none\.toml"):
        settings()
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture
def code(tmp_path, monkeypatch):
    """The folder of the user's own modules."""
    monkeypatch.setenv("DARKROOM_CODE", str(tmp_path))
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def test_a_class_is_found_in_the_users_folder(code):
    (code / "mine_found.py").write_text("class Mine: pass\n")
    assert load_class("mine_found:Mine", "f").__name__ == "Mine"


@pytest.mark.parametrize(
    ("source", "name", "told"),
    [
        ("", "mine_missing:Mine", "f: no module 'mine_missing', neither installed nor in "),
        ("class Other: pass", "mine_other:Mine", r"f: no class 'Mine' in .*mine_other\.py"),
        (
            "import no_such_thing",
            "mine_needs:Mine",
            "f: mine_needs needs no_such_thing, which is not installed",
        ),
        ("Mine = 3", "mine_three:Mine", "f: mine_three:Mine is not a class"),
    ],
)
def test_a_class_that_is_not_there_is_told_with_its_field(code, source, name, told):
    if source:
        (code / f"{name.partition(':')[0]}.py").write_text(source)
    with pytest.raises(BadRequest, match=told):
        load_class(name, "f")


def test_an_own_module_hides_no_other(code):
    (code / "json.py").write_text("class JSONDecoder: mine = True\n")
    assert not hasattr(load_class("json:JSONDecoder", "f"), "mine")
