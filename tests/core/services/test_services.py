"""`make ui` and `make down`: exactly what was started is stopped, and the deployments name what there is."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import yaml

from core.config.presets import preset_names
from core.credentials import PASSWORD_FILE
from core.processes.leftovers import process_name
from core.services import join, launch, service_list
from core.services import pools as pools_of
from core.services.service_list import STATE, Service

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def remember(home: Path, *entries: Service) -> None:
    home.mkdir(exist_ok=True)
    (home / STATE).write_text(json.dumps([asdict(entry) for entry in entries]))


def service(process: subprocess.Popen[bytes], name: str) -> Service:
    return Service(name, process_name(process.pid), "http://127.0.0.1:4299")


def test_stop_ends_what_was_started(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    remember(tmp_path, service(sleeper, "prefect"))
    assert service_list.stop(tmp_path) == ["prefect"]
    assert not psutil.pid_exists(sleeper.pid)
    assert not (tmp_path / STATE).exists()


def test_a_process_that_merely_got_an_old_id_is_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    began_earlier = f"{process_name(sleeper.pid).rpartition(' ')[0]} 1"
    remember(tmp_path, Service("prefect", began_earlier))
    assert service_list.running(tmp_path) == []
    assert service_list.stop(tmp_path) == []
    assert sleeper.poll() is None


@pytest.mark.drill("clock set back", "by a day, while servers and workers run", "`services stop` ends exactly them")
def test_a_service_is_known_whatever_the_clock_says(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system computes the start of a process from its clock: set back by a day, that start moves by a day too."""
    services_of: dict[str, Service] = {}
    (tmp_path / "logs").mkdir()
    monkeypatch.setattr(launch.subprocess, "Popen", lambda *_, **__: sleeper)
    launch._launch(tmp_path, services_of, "prefect", ["python"])
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) - 86_400)
    assert [entry.name for entry in service_list.running(tmp_path)] == ["prefect"]
    assert service_list.stop(tmp_path) == ["prefect"]
    assert not service_list.running(tmp_path)


@pytest.mark.parametrize("again", [False, True])
def test_a_start_leaves_deployments_as_they_are_and_creates_what_is_missing(
    again: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Schedules that somebody switched on in Prefect's pages, and parameters, outlive a reboot."""
    names = pools_of.deployments_of(("cpu-pool",))
    there = [{"name": name} for name in names if name != "weekly"]
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(pools_of, "ask", lambda environment, method, path, body, seconds: there)
    monkeypatch.setattr(pools_of, "_prefect", lambda environment, *words: commands.append(words))
    monkeypatch.setattr(pools_of, "automate", lambda environment, home: None)
    pools_of.deploy({}, ("cpu-pool",), tmp_path, again)
    [command] = [words for words in commands if "deploy" in words]
    assert set(command[3::2]) == (set(names) if again else {"weekly"})


def test_every_deployment_names_a_flow_its_parameters_a_preset_and_a_pool_that_is_created() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {"retrain", "generate"} <= {flow_of(entry["entrypoint"]).name for entry in deployments}
    for entry in deployments:
        signature = inspect.signature(flow_of(entry["entrypoint"]).fn)
        assert set(entry["parameters"]) <= set(signature.parameters)
        assert entry["parameters"].get("preset", "demo") in {*preset_names(), ""}  # "": the champion's own settings
        assert entry["work_pool"]["name"] in pools_of.POOLS
    assert any(entry.get("schedules") for entry in deployments)


def flow_of(entrypoint: str) -> object:
    module, name = entrypoint.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def test_services_of_another_user_are_not_joined_and_stop_no_command(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a home that a group shares, the password of the pages stays its owner's."""
    remember(tmp_path, service(sleeper, "prefect"))
    (tmp_path / PASSWORD_FILE).write_text("of-the-other-user\n")
    (tmp_path / PASSWORD_FILE).chmod(0o600)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    join.join(tmp_path)
    assert "PREFECT_API_URL" not in os.environ
    assert "another user" in caplog.text
