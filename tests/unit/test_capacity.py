"""The pools and workers that follow the fleet: over a real Valkey, with stand-ins for Airflow and Celery."""

from dataclasses import dataclass, field

import pytest
from tests.servers import free_port

from darkroom.fleet.capacity import LOOK_AGAIN_S, Capacity
from darkroom.fleet.presence import PATIENCE_S, Presence
from darkroom.fleet.servers import Fleet, FleetUnknown
from darkroom.flows import LIGHT_POOL, SHIPPED_STAGES
from darkroom.rest.api import ApiError
from darkroom.serving.status import ServerStatus, State


@dataclass
class Pools:
    """Stands for Airflow's pools."""

    slots: dict[str, int] = field(default_factory=dict)
    away: bool = False
    looks: int = 0
    unheard: bool = False

    def pools(self) -> dict[str, int]:
        if self.away:
            raise ApiError("away")
        self.looks += 1
        return dict(self.slots)

    def set_pool(self, name: str, slots: int, description: str) -> None:
        self.slots[name] = slots
        if self.unheard:
            raise ApiError("the answer is lost")


@dataclass
class Told:
    """Stands for Celery's workers."""

    wanted: dict[tuple[str, str], bool] = field(default_factory=dict)

    def follow(self, wanted: dict[tuple[str, str], bool], now: float) -> None:
        self.wanted = wanted


@pytest.fixture
def capacity(url):
    pools = Pools({stage.pool: 2 for stage in SHIPPED_STAGES.values()})
    return Capacity(pools, Fleet(url), Told(), SHIPPED_STAGES, 3, Presence(grace_s=90))


@pytest.fixture
def tell(capacity):
    def say(
        host: str, stage: str, state: State = State.READY, lanes: int = 2, name: str = ""
    ) -> ServerStatus:
        status = ServerStatus(
            name=name or f"{stage}-1",
            stage=stage,
            model="m@1",
            implementation="m:M",
            state=state,
            lanes=lanes,
        )
        capacity.fleet.tell(host, status)
        return status

    return say


def test_a_pool_grows_at_once_when_servers_join(capacity, tell):
    for host in ("h1", "h2", "h3"):
        tell(host, "generate")
    capacity.follow(0)
    assert capacity.api.slots["gpu_generate"] == 6


def test_what_somebody_waits_for_has_a_slot_a_server(capacity, tell):
    tell("h1", "generate")
    tell("h1", "generate", name="generate-2")
    capacity.follow(0)
    assert capacity.api.slots["gpu_generate_now"] == 2
    assert capacity.api.slots["gpu_inspect_now"] == 0


def test_a_pool_shrinks_only_when_servers_stay_away(capacity):
    capacity.follow(0)
    capacity.follow(PATIENCE_S - 1)
    assert capacity.api.slots["gpu_generate"] == 2
    capacity.follow(PATIENCE_S)
    assert capacity.api.slots["gpu_generate"] == 0


def test_a_server_that_comes_back_in_time_keeps_its_slots(capacity, tell):
    capacity.follow(0)
    status = tell("h1", "generate")
    capacity.follow(PATIENCE_S - 1)
    capacity.fleet.forget("h1", status)
    capacity.follow(PATIENCE_S)
    assert capacity.api.slots["gpu_generate"] == 2


def test_a_fenced_server_loses_its_slots_and_its_queue_at_once_and_gets_them_back_when_ready(capacity, tell):
    tell("h1", "generate")
    tell("h2", "generate")
    capacity.follow(0)
    capacity.follow(PATIENCE_S)
    tell("h2", "generate", State.FENCED)
    capacity.follow(PATIENCE_S + 3)
    assert capacity.api.slots["gpu_generate"] == 2
    assert capacity.api.slots["gpu_generate_now"] == 1
    assert capacity.consumers.wanted == {
        ("generate-1@h1", "gpu.generate"): True,
        ("generate-1@h2", "gpu.generate"): False,
    }
    tell("h2", "generate")
    capacity.follow(PATIENCE_S + 6)
    assert capacity.api.slots["gpu_generate"] == 4
    assert all(capacity.consumers.wanted.values())


def test_the_worker_for_interactive_runs_stands_aside_only_when_no_server_of_a_stage_is_left_to_it(
    capacity, tell
):
    def say(name: str, state: State) -> None:
        status = tell("h1", "generate", state, name=name)
        capacity.fleet.tell("h1", status.model_copy(update={"now_worker": "now@h1"}))

    say("generate-1", State.FENCED)
    say("generate-2", State.READY)
    capacity.follow(0)
    assert capacity.consumers.wanted["now@h1", "gpu.generate.now"] is True
    say("generate-2", State.FENCED)
    capacity.follow(3)
    assert capacity.consumers.wanted["now@h1", "gpu.generate.now"] is False


def test_workers_are_told_also_while_airflow_is_away(capacity, tell):
    tell("h1", "generate", State.FENCED)
    capacity.api.away = True
    with pytest.raises(ApiError):
        capacity.follow(0)
    assert capacity.consumers.wanted == {("generate-1@h1", "gpu.generate"): False}


def test_the_pool_of_light_work_is_made_once_and_then_left_alone(capacity):
    capacity.follow(0)
    assert capacity.api.slots[LIGHT_POOL] == 3
    capacity.api.slots[LIGHT_POOL] = 7
    capacity.follow(3)
    assert capacity.api.slots[LIGHT_POOL] == 7


def test_what_is_known_of_the_pools_holds_for_a_while_and_then_is_put_right(capacity, tell):
    tell("h1", "generate")
    capacity.follow(0)
    capacity.api.slots["gpu_generate"] = 40
    tell("h1", "generate")
    capacity.follow(LOOK_AGAIN_S - 1)
    assert (capacity.api.slots["gpu_generate"], capacity.api.looks) == (40, 1)
    tell("h1", "generate")
    capacity.follow(LOOK_AGAIN_S)
    assert (capacity.api.slots["gpu_generate"], capacity.api.looks) == (2, 2)


def test_a_pool_whose_change_was_not_confirmed_is_looked_at_in_the_next_round(capacity, tell):
    tell("h1", "generate")
    capacity.follow(0)
    capacity.follow(PATIENCE_S)
    tell("h2", "generate")
    capacity.api.unheard = True
    with pytest.raises(ApiError):
        capacity.follow(PATIENCE_S + 3)
    assert capacity.api.slots["gpu_generate"] == 4
    capacity.api.unheard = False
    tell("h2", "generate", State.FENCED)
    capacity.follow(PATIENCE_S + 6)
    assert capacity.api.slots["gpu_generate"] == 2


def test_who_waits_for_a_server_is_said_once(capacity, tell, caplog):
    caplog.set_level("INFO")
    for now in (0, 3, 6):
        capacity.follow(now)
    assert caplog.text.count("enhance: its chunks wait: there is no server of it") == 1
    tell("h1", "enhance")
    capacity.follow(9)
    assert "enhance: there is a server again" in caplog.text


def test_an_unknown_fleet_leaves_the_pools_as_they_are_and_patience_begins_anew(capacity, url):
    capacity.follow(0)
    capacity.fleet = Fleet(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(FleetUnknown):
        capacity.follow(PATIENCE_S)
    capacity.fleet = Fleet(url)
    capacity.follow(PATIENCE_S + 1)
    assert {capacity.api.slots[stage.pool] for stage in SHIPPED_STAGES.values()} == {2}
