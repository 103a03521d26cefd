import configparser
import importlib
import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from darkroom.errors import StackError
from darkroom.flows import STAGES
from darkroom.settings import settings
from darkroom.stack import ports
from darkroom.stack.credentials import Credentials
from darkroom.stack.home import Home
from darkroom.stack.layout import Stack
from darkroom.stack.lifecycle import stop_order
from darkroom.stack.parts import parts
from darkroom.stack.ports import claimed_ports, is_free, usual_ports
from darkroom.stack.supervisor import fingerprint, render


@pytest.fixture
def stack(tmp_path, monkeypatch):
    # Such a long path makes a folder for the socket, which should go with the test's own.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    home = Home(tmp_path / "a home % with 100 odd 'signs'")
    home.create()
    return Stack(home, Credentials(), usual_ports())


def option(part, name):
    return part.command[part.command.index(name) + 1]


def test_every_stage_has_its_servers_each_with_a_worker(stack):
    listed = parts(stack)
    for stage in STAGES.values():
        names = [f"{stage.name}-{number}" for number in range(1, stage.servers + 1)]
        assert [n for n in listed if n.startswith(f"server-{stage.name}-")] == [f"server-{n}" for n in names]
        for name in names:
            worker = listed[f"worker-{name}"]
            assert option(worker, "--queues") == stage.queue
            assert option(worker, "--concurrency") == str(stage.lanes_per_server)
            port = str(stack.ports[f"server-{name}"])
            assert option(listed[f"server-{name}"], "--port") == port
            assert f"http://127.0.0.1:{port}" in worker.environment["DARKROOM_SERVER_URLS"]


def test_one_worker_takes_what_somebody_waits_for_to_the_doors_of_all_servers(stack):
    listed = parts(stack)
    worker = listed["worker-now"]
    assert option(worker, "--queues").split(",") == [stage.now_queue for stage in STAGES.values()]
    doors = json.loads(worker.environment["DARKROOM_SERVER_URLS"])
    servers = [name.removeprefix("server-") for name in listed if name.startswith("server-")]
    assert option(worker, "--concurrency") == str(len(servers))
    assert {Path(door).stem for those in doors.values() for door in those} == set(servers)
    for door in (door.removeprefix("unix://") for those in doors.values() for door in those):
        assert len(os.fsencode(door)) <= 107
        assert listed[f"server-{Path(door).stem}"].environment["DARKROOM_DOOR"] == door


def test_workers_and_servers_know_neither_the_database_s_password_nor_a_signing_key(stack):
    secret = stack.credentials
    for name, part in parts(stack).items():
        if name.startswith(("worker-", "server-")):
            seen = " ".join([*part.command, *part.environment.values()])
            for hidden in (secret.postgres_password, secret.fernet_key, secret.jwt_secret):
                assert hidden not in seen


def test_several_schedulers_and_triggerers_have_names_of_their_own_for_airflow(stack, monkeypatch):
    monkeypatch.setenv("DARKROOM_SCHEDULERS", "2")
    monkeypatch.setenv("DARKROOM_TRIGGERERS", "3")
    settings.cache_clear()
    listed = parts(stack)
    settings.cache_clear()
    twins = [name for name in listed if name.startswith(("scheduler", "triggerer"))]
    assert twins == ["scheduler-1", "scheduler-2", "triggerer-1", "triggerer-2", "triggerer-3"]
    environment = listed["scheduler-2"].environment
    module, _, function = environment["AIRFLOW__CORE__HOSTNAME_CALLABLE"].rpartition(".")
    monkeypatch.setenv("DARKROOM_PART", environment["DARKROOM_PART"])
    assert getattr(importlib.import_module(module), function)() == f"{socket.gethostname()}/scheduler-2"


def test_no_secret_stands_on_a_command_line(stack):
    shown = " ".join(word for part in parts(stack).values() for word in part.command)
    secret = stack.credentials
    for hidden in (secret.postgres_password, secret.valkey_password, secret.fernet_key, secret.jwt_secret):
        assert hidden not in shown


def test_workers_stop_first_and_the_engines_last(stack):
    waves = stop_order(parts(stack))
    place = {name: number for number, wave in enumerate(waves) for name in wave}
    assert place["worker-generate-1"] < place["server-generate-1"]
    assert place["worker-default"] < place["api-server"] < place["postgres"]
    assert place["scheduler"] < place["valkey"]
    assert sorted(place) == sorted(parts(stack))


def test_supervisor_reads_back_what_was_meant(stack, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    listed = parts(stack)
    stack.home.supervisor_conf.write_text(render(stack.home, listed.values()))
    options = ServerOptions()
    options.realize(["-c", str(stack.home.supervisor_conf)])
    read = {
        config.name: config for group in options.process_group_configs for config in group.process_configs
    }
    assert list(read) == sorted(listed)
    for name, part in listed.items():
        assert tuple(shlex.split(read[name].command)) == part.command
        assert read[name].environment == dict(part.environment)
        assert read[name].autorestart
        assert not read[name].autostart


def test_a_value_that_can_t_be_quoted_is_refused(stack):
    part = parts(stack)["valkey"]
    object.__setattr__(part, "environment", {"X": "both \" and '"})
    with pytest.raises(StackError, match="quotes"):
        render(stack.home, [part])


def test_other_settings_give_another_fingerprint():
    assert fingerprint("a", {"DARKROOM_X": "1"}) != fingerprint("a", {"DARKROOM_X": "2"})
    assert fingerprint("a", {"TERM": "1"}) == fingerprint("a", {"TERM": "2"})


def test_no_secret_is_in_the_configuration_of_the_daemon_itself(stack):
    conf = configparser.RawConfigParser()
    conf.read_string(render(stack.home, []))
    assert conf.sections() == [
        "supervisord", "unix_http_server", "supervisorctl", "rpcinterface:supervisor",
    ]  # fmt: skip


def test_a_taken_port_gives_way_to_the_next_free_one():
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not is_free(port)
        with claimed_ports({"api": port, "other": port}, {}) as chosen:
            pass
    assert port < chosen["api"] < chosen["other"]


def test_a_remembered_port_is_kept():
    with socket.socket() as probe:
        probe.bind((ports.LOOPBACK, 0))
        free = probe.getsockname()[1]
    with claimed_ports({"api": 8080}, {"api": free}) as chosen:
        assert chosen == {"api": free}


def test_two_plants_that_start_in_the_same_second_get_no_port_in_common():
    usual = usual_ports()
    with claimed_ports(usual, {}) as one, claimed_ports(usual, one) as other:
        assert not set(one.values()) & set(other.values())


def test_a_claim_ends_with_its_process():
    code = (
        "import os, sys; from darkroom.stack.ports import claimed_ports\n"
        "with claimed_ports({'api': 8300}, {}) as ports:\n"
        "    print(ports['api'], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "include"},
    ) as other:  # fmt: skip
        theirs = int(other.stdout.readline())
        with claimed_ports({"api": theirs}, {}) as ours:
            assert ours["api"] > theirs
        other.kill()
    with claimed_ports({"api": theirs}, {}) as ours:
        assert ours["api"] == theirs
