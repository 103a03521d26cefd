"""Which stages fit on which devices. The driver's library is played by a fake, as there may be no GPU."""

import os
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pynvml
import pytest

from darkroom.errors import BadRequest, StackError
from darkroom.flows import SHIPPED_STAGES
from darkroom.serving.gpu import Gpu, gpu_count
from darkroom.settings import settings
from darkroom.stack.devices import Device, find_devices
from darkroom.stack.gpu_host import GpuHost, find_stages
from darkroom.stack.home import locked_file
from darkroom.stack.join import Join

GENERATE, INSPECT = SHIPPED_STAGES["generate"], SHIPPED_STAGES["inspect"]


@pytest.fixture
def two_gpus(monkeypatch):
    """Two GPUs of 24 and 8 GB, as NVML would show them."""
    memory = {0: 24 << 30, 1: 8 << 30}
    events: list[int] = []

    def by_index(index: int) -> int:
        if index not in memory:
            raise pynvml.NVMLError_InvalidArgument()
        return index

    def wait(_events, _timeout):
        if number := events.pop(0):
            return SimpleNamespace(eventData=number)
        raise pynvml.NVMLError_GpuIsLost()  # ends the watch

    played = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: len(memory),
        "nvmlDeviceGetHandleByIndex": by_index,
        "nvmlDeviceGetHandleByUUID": lambda uuid: by_index(int(uuid.removeprefix("GPU-"))),
        "nvmlDeviceGetIndex": lambda handle: handle,
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
        "nvmlDeviceGetName": lambda handle: "H200",
        "nvmlDeviceGetTemperature": lambda handle, kind: 41,
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=memory[handle], used=1 << 30),
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [
            SimpleNamespace(pid=10, usedGpuMemory=300 << 20), SimpleNamespace(pid=11, usedGpuMemory=5 << 20),
        ],
        "nvmlEventSetCreate": lambda: None,
        "nvmlDeviceRegisterEvents": lambda *_: None,
        "nvmlEventSetWait_v2": wait,
    }  # fmt: skip
    for name, function in played.items():
        monkeypatch.setattr(pynvml, name, function)
    return events


@pytest.fixture
def no_gpu(monkeypatch):
    def fails():
        raise pynvml.NVMLError_LibraryNotFound()

    monkeypatch.setattr(pynvml, "nvmlInit", fails)


@pytest.mark.usefixtures("two_gpus")
def test_gpus_are_found_by_index_and_uuid_with_their_memory():
    assert gpu_count() == 2
    devices, notes = find_devices(["0", "GPU-1"])
    assert devices == [Device("gpu0", "0", 24 << 10), Device("gpu1", "GPU-1", 8 << 10)]
    assert notes == []


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("asked", "told"),
    [(["2"], "no GPU '2' .*there are: 0, 1"), (["0", "GPU-0"], "--gpu: gpu0 is given twice")],
)
def test_a_gpu_that_is_not_there_is_refused(asked, told):
    with pytest.raises(BadRequest, match=told):
        find_devices(asked)


def test_a_look_at_a_gpu_shows_temperature_memory_and_its_errors(two_gpus):
    gpu = Gpu("0")
    two_gpus += [79, 0]
    gpu.watch_errors()
    until = time.monotonic() + 5
    while not (look := gpu.look()).xid_errors and time.monotonic() < until:
        time.sleep(0.01)
    assert (look.name, look.temperature_c, look.memory_used_mb, look.xid_errors) == ("H200", 41, 1024, [79])
    assert gpu.memory_mb([10]) == 300
    assert gpu.memory_mb([99]) is None


def test_a_gpu_that_the_driver_has_lost_is_told_as_not_seen(two_gpus, monkeypatch):
    gpu = Gpu("0")

    def lost(_handle):
        raise pynvml.NVMLError_GpuIsLost()

    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lost)
    assert gpu.look() is None


@pytest.mark.usefixtures("no_gpu")
def test_a_machine_without_a_gpu_computes_on_its_cpu_and_says_so():
    assert find_devices([]) == ([Device("cpu0", None, find_devices([])[0][0].memory_mb)], [])
    devices, notes = find_devices(["0", "1"])
    assert [(device.label, device.gpu) for device in devices] == [("cpu0", None), ("cpu1", None)]
    assert notes == ["no GPU here: the CPU computes instead of --gpu 0, 1"]
    assert sum(device.memory_mb for device in devices) <= find_devices([])[0][0].memory_mb


@pytest.mark.usefixtures("no_gpu")
def test_what_can_be_no_gpu_is_refused_also_where_there_is_none():
    with pytest.raises(BadRequest, match="--gpu 'x': an index such as 0"):
        find_devices(["x"])


@pytest.mark.usefixtures("two_gpus")
def test_gpus_that_nobody_names_are_mentioned():
    assert find_devices([])[1] == [
        "none of the 2 GPUs of this machine is named by --gpu, so the CPU computes"
    ]


def test_stages_that_do_not_fit_together_are_refused_with_the_sum():
    device = Device("gpu0", "0", GENERATE.memory_mb + INSPECT.memory_mb)
    GpuHost([GENERATE, INSPECT], [device]).check_memory()
    small = Device("gpu1", "1", device.memory_mb - 1)
    with pytest.raises(BadRequest, match=r"generate 600 \+ inspect 1500 = 2100 MB .* on gpu1 with 2099 MB"):
        GpuHost([GENERATE, INSPECT], [device, small]).check_memory()


@pytest.mark.usefixtures("no_gpu")
def test_the_memory_of_a_device_can_be_limited(setting):
    setting(device_memory_mb=100)
    with pytest.raises(BadRequest, match="with 100 MB"):
        GpuHost([GENERATE], find_devices(["0"])[0]).check_memory()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("paint", "there are generate, enhance, inspect"),
        ("inspect,inspect", "given twice"),
        ("", "there are"),
    ],
)
def test_a_stage_that_is_not_in_the_table_is_refused(names, told):
    with pytest.raises(BadRequest, match=told):
        find_stages(names)


def test_each_gpu_has_a_server_and_a_pinned_worker_per_stage(setting, tmp_path):
    setting(home=tmp_path)
    join = Join("redis://:b@h/0", "redis://:r@h/1", "redis://:p@h/2", "http://h:8080", "s3://b", ["/in"])
    host = GpuHost(find_stages("generate,inspect"), [Device("gpu0", "0", 9000), Device("gpu1", "1", 9000)])
    host.home.create()
    with ExitStack() as claims:
        parts = host._parts(join, claims)
    now = parts.pop("worker-now-generate-gpu0")
    assert now.command[now.command.index("--queues") + 1] == "gpu.generate.now,gpu.inspect.now"
    assert now.command[now.command.index("--concurrency") + 1] == "4"
    assert set(now.needs) == {name for name in parts if name.startswith("server")}
    assert list(parts) == [
        f"{kind}-{stage}-gpu{gpu}" for gpu in (0, 1) for stage in ("generate", "inspect")
        for kind in ("server", "worker")
    ]  # fmt: skip
    for name, part in parts.items():
        if name.startswith("server"):
            assert part.command[part.command.index("--gpu") + 1] == name[-1]
            assert f"unix://{part.environment['DARKROOM_DOOR']}" in now.environment["DARKROOM_SERVER_URLS"]
        else:
            assert part.command[part.command.index("--queues") + 1] == f"gpu.{name.split('-')[1]}"
            assert part.environment["AIRFLOW__CELERY__BROKER_URL"] == "redis://:b@h/0"
            assert part.environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://h:8080/execution/"
            assert not [key for key in part.environment if "FERNET" in key or "JWT" in key]
    ports = [
        part.command[part.command.index("--port") + 1] for part in parts.values() if "--port" in part.command
    ]
    assert len(set(ports)) == 4


def test_a_gpu_belongs_to_one_worker(setting, tmp_path):
    setting(home=tmp_path)
    device = Device("gpu0", "0", 9000)
    one, other = GpuHost([GENERATE], [device]), GpuHost([INSPECT], [device])
    one.home.create()
    other.home.create()
    with one._alone():
        with pytest.raises(StackError, match="gpu0 is taken by another worker"), other._alone():
            pass
        with pytest.raises(StackError, match="this worker runs already"), one._alone():
            pass
    with other._alone():
        pass


def test_on_a_cpu_two_workers_may_run_different_stages_but_not_the_same(setting, tmp_path):
    setting(home=tmp_path)
    device = Device("cpu0", None, 9000)
    one, both, other = (GpuHost(stages, [device]) for stages in ([GENERATE], [GENERATE, INSPECT], [INSPECT]))
    for host in (one, both, other):
        host.home.create()
    with one._alone():
        with pytest.raises(StackError, match="generate-cpu0 is taken"), both._alone():
            pass
        with other._alone():
            pass


def test_a_lock_tells_who_holds_it(tmp_path):
    path = tmp_path / "lock"
    with (
        locked_file(path, "taken"),
        pytest.raises(StackError, match=rf"taken \(pid {os.getpid()}\)"),
        locked_file(path, "taken"),
    ):
        pass


@pytest.mark.parametrize("missing", ["RESULT_URL", "REDIS_URL", "API_URL", "STORE"])
def test_half_a_way_to_a_plant_is_refused(setting, missing):
    way = {"broker_url": "redis://b", "result_url": "redis://r", "redis_url": "redis://p", "api_url": "http://a",
           "store": "s3://s"}  # fmt: skip
    setting(**{name: value for name, value in way.items() if name.upper() != missing})
    with pytest.raises(BadRequest, match=f"DARKROOM_BROKER_URL is set, but not DARKROOM_{missing}"):
        Join.find()


def test_without_a_plant_on_this_machine_the_user_is_told_how_to_name_one(setting, tmp_path):
    setting(home=tmp_path)
    with pytest.raises(BadRequest, match=r"darkroom env --for-worker .*darkroom worker --plant"):
        Join.find()


def test_the_way_to_a_plant_is_written_for_its_owner_only_and_read_back(setting, tmp_path):
    from darkroom.commands.worker import _read

    join = Join(
        "redis://:b@h/0", "redis://:r@h/1", "redis://:p@h/2", "http://h:8080", "s3://b", ["/a b", "s3://c"],
        profile="fleet",
    )  # fmt: skip
    path = tmp_path / "worker.env"
    join.write(path)
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(BadRequest, match="--force replaces it"):
        join.write(path)
    setting(home=tmp_path)
    before = dict(os.environ)
    try:
        _read(path)
        assert Join.find() == join
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.cache_clear()
