"""The environment of a process: variables before numpy is imported, the device, the allocator of memory."""

from __future__ import annotations

import os
import urllib.request
import warnings
from pathlib import Path

import httpx
import pytest
import requests

from reviewlm.core import environment
from reviewlm.core.environment import chosen_device, visible_gpu_names
from reviewlm.core.processes import memory


@pytest.mark.parametrize("listed", ["", "example.org, 10.0.0.1"])
def test_a_proxy_is_not_asked_for_the_servers_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    listed: str,
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", listed)
    monkeypatch.setenv("NO_PROXY", "")  # so that both are put back at the end
    environment.prepare_environment(tmp_path / "home")
    with httpx.Client() as client:  # Prefect's library
        direct = {
            one: client._transport_for_url(httpx.URL(f"http://{one}:4200")) is client._transport
            for one in ("127.0.0.1", "localhost", "example.org", "other.example")
        }
    assert direct == {
        "127.0.0.1": True,
        "localhost": True,
        "example.org": bool(listed),
        "other.example": False,
    }
    assert requests.utils.should_bypass_proxies("http://127.0.0.1:5000", None)  # MLflow's library
    assert not requests.utils.should_bypass_proxies("http://other.example", None)
    assert urllib.request.proxy_bypass("127.0.0.1")  # our own questions


HOSTILE = {
    "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7",
    "MLFLOW_TRUNCATE_LONG_VALUES": "0",
    "MLFLOW_UV_AUTO_DETECT": "True",
    "MLFLOW_LOCK_MODEL_DEPENDENCIES": "1",
    "MLFLOW_ENABLE_WORKSPACES": "true",
    "PREFECT_FLOWS_DEFAULT_RETRIES": "3",
    "PREFECT_TASKS_DEFAULT_RETRIES": "3",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
    "PREFECT_TASKS_DEFAULT_PERSIST_RESULT": "true",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "3600",
}


@pytest.fixture
def no_frameworks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without the variables that are ours to decide."""
    assert HOSTILE.keys() == environment.FIXED.keys() | {environment.BEAT}
    for name in HOSTILE:
        monkeypatch.setenv(name, "")  # so that it is put back at the end
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_variable_by_which_a_run_would_mean_something_else_is_replaced_with_a_warning(
    no_frameworks: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    monkeypatch.setenv(name, HOSTILE[name])
    for _ in range(2):
        environment.prepare_environment(tmp_path / "home")
    assert os.environ[name] == {**environment.FIXED, environment.BEAT: "180"}[name]
    assert [
        name in record.message for record in caplog.records if record.levelname == "WARNING"
    ] == [True]


# --- which device


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The device files of a machine with two GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("1, 0", ["1", "0"]),
        ("0,-1,1", ["0"]),
        ("NoDevFiles", []),
        ("0,7,1", ["0"]),
        ("0,0", ["0"]),
        ("GPU-8932f937-d72c,MIG-GPU-8932f937/1/0", ["GPU-8932f937-d72c", "MIG-GPU-8932f937/1/0"]),
        ("MIG-c7384736-a75d-5afc-978f-d2f1294409fd", ["MIG-c7384736-a75d-5afc-978f-d2f1294409fd"]),
    ],
)
def test_names_are_read_up_to_the_first_one_that_cuda_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
    machine: Path,
    value: str,
    names: list[str],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpu_names(machine) == names


def test_by_itself_a_gpu_that_torch_cannot_use_is_left_alone_with_one_warning(
    monkeypatch: pytest.MonkeyPatch,
    machine: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def unavailable() -> bool:
        warnings.warn(
            "The NVIDIA driver on your system is too old (found version 12080).", stacklevel=1
        )
        return False

    environment._warn_of_gpu.cache_clear()
    monkeypatch.setattr("torch.cuda.is_available", unavailable)
    monkeypatch.setattr("torch.backends.cuda.is_built", lambda: True)
    for _ in range(2):
        assert chosen_device("auto", machine) == "cpu"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "found version 12080" in caplog.text
    assert chosen_device("cuda", machine) == "cuda"


class Library:
    """A C library that notes which settings it gets."""

    def __init__(self, calls: list[object]) -> None:
        self._calls = calls

    def mallopt(self, name: int, value: int) -> None:
        self._calls.append((name, value))


@pytest.fixture
def memory_calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is asked of the allocator, in order."""
    calls: list[object] = []
    library = Library(calls)
    monkeypatch.setattr(memory, "_glibc", lambda: library)
    monkeypatch.setattr(memory, "return_freed", lambda: calls.append("returned"))
    return calls


def test_the_allocator_is_tight_within_the_block_alone(memory_calls: list[object]) -> None:
    with memory.returned_memory():
        memory_calls.append("work")
    tight = [*memory.TIGHT.items()]
    wide = [*memory.WIDE.items()]
    assert memory_calls == [*tight, "work", *wide, "returned"]


def test_an_allocator_without_settings_is_left_alone(
    memory_calls: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with memory.returned_memory():
        memory_calls.append("work")
    assert memory_calls == ["work", "returned"]
