import os
import stat
import subprocess
import sys

import pytest

from darkroom.errors import StackError
from darkroom.stack.credentials import Credentials
from darkroom.stack.home import Home
from darkroom.stack.layout import Stack
from darkroom.stack.lifecycle import remove_state


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    return home


def test_secrets_are_generated_once_and_private(home):
    first = Credentials.load_or_create(home.secrets_file)
    assert Credentials.load_or_create(home.secrets_file) == first
    assert mode(home.secrets_file) == 0o600


def test_a_secret_that_is_new_is_added_to_those_that_are_kept(home):
    home.secrets_file.write_text('{"postgres_password": "kept"}')
    credentials = Credentials.load_or_create(home.secrets_file)
    assert credentials.postgres_password == "kept"
    assert Credentials.load_or_create(home.secrets_file) == credentials


def test_secrets_don_t_show_in_a_traceback():
    credentials = Credentials()
    assert credentials.postgres_password not in repr(credentials)


def test_all_folders_but_the_top_are_private(home):
    assert mode(home.path) == 0o711
    assert all(mode(folder) == 0o700 for folder in home.path.iterdir() if folder.is_dir())


def test_a_long_path_gets_a_short_private_socket_and_keeps_it(tmp_path):
    home = Home(tmp_path / ("x" * 100))
    home.create()
    socket = home.socket()
    assert len(os.fsencode(socket)) <= 90
    assert mode(socket.parent) == 0o700
    assert home.socket() == socket
    socket.parent.rmdir()


def test_a_state_that_is_no_json_counts_as_none(home):
    (home.path / "state.json").write_text("{torn")
    assert home.read_state() == {}
    home.update_state(ports={"api": 1})
    assert home.read_state() == {"ports": {"api": 1}}


def test_only_one_process_holds_the_lock_and_it_ends_with_the_process(home):
    hold = f"""
from darkroom.stack.layout import Stack
from darkroom.stack.lifecycle import remove_state
from darkroom.stack.home import Home, Path
with Home(Path({str(home.path)!r})).locked():
    print("held", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StackError, match=f"pid {holder.pid}"), home.locked():
            pass
        holder.kill()
    with home.locked():
        pass


def test_a_folder_that_holds_other_things_is_neither_taken_over_nor_removed(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    before = tmp_path.stat().st_mode
    with pytest.raises(StackError, match=r"thesis\.tex"):
        Stack.load(Home(tmp_path))
    with pytest.raises(StackError):
        remove_state(Home(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert tmp_path.stat().st_mode == before


def test_a_state_folder_of_ours_is_known_again_and_can_be_removed(tmp_path):
    home = Home(tmp_path / "home")
    Stack.load(home)
    (home.path / "store").mkdir()
    (home.path / ".state.json.tmp").touch()
    Stack.load(home)
    remove_state(home)
    assert not home.path.exists()
