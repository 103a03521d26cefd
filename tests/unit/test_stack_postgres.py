import os
import shutil
import tempfile
from pathlib import Path

import pytest

from darkroom.errors import StackError
from darkroom.stack.home import Home
from darkroom.stack.postgres import Postgres, wheel_programs


@pytest.fixture
def reachable():
    """A folder that PostgreSQL's user can reach when we are root; pytest's own are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="darkroom-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_a_cluster_is_made_once_also_from_a_copy_of_the_programs(reachable):
    placed = Postgres.place(Home(reachable))
    postgres = Postgres(
        reachable / "postgres", reachable / "own" / "wheel" / "pgserver" / "pginstall18" / "bin", placed.user
    )
    postgres.create("secret")
    made = (postgres.data / "PG_VERSION").stat().st_mtime_ns
    (postgres.data / "postmaster.pid").write_text("1\n")
    postgres.create("secret")
    assert (postgres.data / "PG_VERSION").stat().st_mtime_ns == made
    assert not (postgres.data / "postmaster.pid").exists()
    assert "trust" not in (postgres.data / "pg_hba.conf").read_text()


def test_a_broken_program_is_reported_with_its_words(reachable):
    postgres = Postgres(reachable / "postgres", wheel_programs(), Postgres.place(Home(reachable)).user)
    with pytest.raises(StackError, match="syntax error"):
        postgres.create("a ' quote")
    assert not postgres.data.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_data_go_outside_where_postgresql_s_user_can_t_reach_the_home(tmp_path):
    tmp_path.chmod(0o700)
    placed = Postgres.place(Home(tmp_path / "home"))
    assert placed.user
    assert placed.folder.is_relative_to("/var/lib/darkroom")
