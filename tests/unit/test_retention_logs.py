"""Log files go by age, links and what is written now stay."""

import os
import time

from darkroom.retention.logs import clean
from darkroom.retention.tally import DAY_S, Tally

NOW = time.time()


def written(path, days_ago, text="x" * 100):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (NOW - days_ago * DAY_S,) * 2)
    return path


def age(*folders):
    for folder in folders:
        os.utime(folder, (NOW - 60 * DAY_S,) * 2)


def cleaned(home, dry_run=False):
    tally = Tally("log files", dry_run)
    clean(home / "airflow" / "logs", home, NOW - 30 * DAY_S, tally)
    return tally


def test_logs_of_old_runs_go_with_their_folders_and_those_of_young_ones_stay(tmp_path):
    runs = tmp_path / "airflow" / "logs" / "dag_id=image_flow"
    old = written(runs / "run_id=a" / "task_id=plan" / "attempt=1.log", 40)
    young = written(runs / "run_id=b" / "task_id=plan" / "attempt=1.log", 20)
    age(old.parent, old.parent.parent)
    tally = cleaned(tmp_path)
    assert (tally.count, tally.size_bytes) == (1, 100)
    assert not old.parent.parent.exists()
    assert young.exists()


def test_a_folder_that_is_new_stays_though_it_is_empty(tmp_path):
    new = tmp_path / "airflow" / "logs" / "dag_id=image_flow" / "run_id=new"
    new.mkdir(parents=True)
    cleaned(tmp_path)
    assert new.is_dir()


def test_only_to_look_removes_nothing_and_says_the_same(tmp_path):
    old = written(tmp_path / "airflow" / "logs" / "dag_processor" / "2026-01-01" / "a.py.log", 40)
    seen = cleaned(tmp_path, dry_run=True)
    assert old.exists()
    assert (seen.count, seen.size_bytes, seen.oldest_s) == (
        (tally := cleaned(tmp_path)).count,
        tally.size_bytes,
        tally.oldest_s,
    )
    assert not old.exists()


def test_what_a_process_of_the_plant_writes_stays_however_quiet_and_what_was_rotated_goes(tmp_path):
    quiet, rotated = written(tmp_path / "logs" / "valkey.log", 90), tmp_path / "logs" / "scheduler.log.1"
    written(rotated, 90)
    assert cleaned(tmp_path).count == 1
    assert quiet.exists() and not rotated.exists()


def test_the_logs_of_workers_on_this_machine_go_too(tmp_path):
    old = written(tmp_path / "workers" / "w1" / "airflow" / "logs" / "dag_id=a" / "x.log", 40)
    assert cleaned(tmp_path).count == 1
    assert not old.exists()


def test_a_link_is_not_followed_and_not_removed(tmp_path):
    mine = written(tmp_path / "mine" / "precious.log", 90)
    logs = tmp_path / "home" / "airflow" / "logs" / "dag_id=a"
    logs.mkdir(parents=True)
    (logs / "run_id=x").symlink_to(mine.parent)
    (logs / "attempt=1.log").symlink_to(mine)
    (logs.parent / "dag_id=b").symlink_to(mine.parent)
    assert cleaned(tmp_path / "home").count == 0
    assert mine.exists()


def test_a_plant_without_logs_is_clean(tmp_path):
    assert list(cleaned(tmp_path).lines()) == ["removed 0 log files"]
