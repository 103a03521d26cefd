import json
from pathlib import Path

import pytest
import yaml

from darkroom.errors import BadRequest
from darkroom.settings import REPOSITORY
from darkroom.stack.airflow_settings import OVERRIDES_ENV, SETTINGS, environ
from darkroom.stack.settings_page import as_markdown


@pytest.fixture(scope="module")
def known_options():
    import airflow
    from airflow.providers.celery.get_provider_info import get_provider_info

    own = yaml.safe_load((Path(airflow.__file__).parent / "config_templates" / "config.yml").read_text())
    sections = own | get_provider_info()["config"]
    return {(section, key) for section, described in sections.items() for key in described["options"]}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s.section}.{s.key}")
def test_every_setting_is_known_to_the_installed_airflow(setting, known_options):
    assert (setting.section, setting.key) in known_options


def test_no_setting_is_there_twice():
    assert len({s.variable for s in SETTINGS}) == len(SETTINGS)


def test_every_setting_has_a_reason():
    assert all(setting.why for setting in SETTINGS)


@pytest.mark.parametrize("profile", ["laptop", "fleet"])
def test_a_dead_worker_is_noticed_within_90_seconds(profile):
    told = {s.key: getattr(s, profile) for s in SETTINGS if s.section == "scheduler"}
    silent_s = int(told["task_instance_heartbeat_timeout"])
    assert silent_s + int(told["task_instance_heartbeat_timeout_detection_interval"]) <= 90


def test_workers_get_no_secret_settings():
    values = {"fernet_key": "F", "postgres_url": "P", "api_secret_key": "A", "jwt_secret": "J"}
    names = ("repository", "airflow_home", "api_url", "api_port", "broker_url", "result_backend")
    found = environ("laptop", values | dict.fromkeys(names, "x"), with_secrets=False)
    assert not {"F", "P", "A", "J"} & set(found.values())


def test_the_fleet_leaves_out_what_the_deployment_gives():
    found = environ("fleet", {}, with_secrets=True)
    assert "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" not in found
    assert found["AIRFLOW__CORE__PARALLELISM"] == "512"


def test_overrides_win(monkeypatch):
    monkeypatch.setenv(OVERRIDES_ENV, json.dumps({"core.parallelism": 3}))
    assert environ("fleet", {}, with_secrets=True)["AIRFLOW__CORE__PARALLELISM"] == "3"


@pytest.mark.parametrize("text", ["[]", "{", '{"parallelism": "3"}'])
def test_overrides_that_cannot_be_read_are_refused(monkeypatch, text):
    monkeypatch.setenv(OVERRIDES_ENV, text)
    with pytest.raises(BadRequest, match=OVERRIDES_ENV):
        environ("fleet", {}, with_secrets=True)


def test_the_page_of_settings_is_current():
    page = (REPOSITORY / "docs" / "settings.md").read_text()
    assert page == "\n".join(as_markdown()) + "\n", "run `make docs`"
