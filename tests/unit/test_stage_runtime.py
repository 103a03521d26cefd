import onnxruntime
import pytest

from darkroom.settings import REPOSITORY
from darkroom.stages.runtime import CPU, CUDA, device_of, open_session, providers

MODEL = REPOSITORY / "models" / "shapes-flow-64.onnx"


@pytest.fixture
def with_cuda(monkeypatch):
    """An onnxruntime that was built with CUDA."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_gpu_comes_first_and_the_cpu_behind_it(with_cuda):
    assert providers() == [CUDA, CPU]


@pytest.mark.parametrize("devices", ["", "-1"])
def test_hidden_gpus_are_not_used(with_cuda, monkeypatch, devices):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    assert providers() == [CPU]


def test_a_chosen_gpu_is_used(with_cuda, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert providers() == [CUDA, CPU]


def test_without_cuda_it_is_the_cpu(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    assert providers() == [CPU]
    assert device_of(open_session(MODEL)) == "cpu"


def test_a_gpu_that_can_not_be_used_is_said_and_the_cpu_taken(with_cuda, caplog):
    session = onnxruntime.InferenceSession(str(MODEL), providers=[CPU])
    assert device_of(session) == "cpu"
    assert "can't use the GPU" in caplog.text
