"""Services are started, found, stopped, and keep their ports."""

from __future__ import annotations

import configparser
import importlib
import inspect
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
import yaml

from reviewlm.cli import app
from reviewlm.core.config.presets import preset_names
from reviewlm.core.credentials import PASSWORD_FILE
from reviewlm.core.environment import HOME_VARIABLE
from reviewlm.core.errors import ReviewLMError, StoreFull
from reviewlm.core.processes.leftovers import process_name
from reviewlm.core.services import join, launch, service_list
from reviewlm.core.services import pools as pools_of
from reviewlm.core.services.service_list import STATE, Service, address_of
from tests.core.waiting import until

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


def test_a_process_that_merely_got_an_old_id_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    began_earlier = f"{process_name(sleeper.pid).rpartition(' ')[0]} 1"
    remember(tmp_path, Service("prefect", began_earlier))
    assert service_list.running(tmp_path) == []
    assert service_list.stop(tmp_path) == []
    assert sleeper.poll() is None


@pytest.mark.drill(
    "clock set back", "by a day, while servers and workers run", "`services stop` ends exactly them"
)
def test_a_service_is_known_whatever_the_clock_says(
    tmp_path: Path,
    sleeper: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system computes the start of a process from its clock: set back by a day, that start moves by a day too."""
    services_of: dict[str, Service] = {}
    monkeypatch.setattr(launch.subprocess, "Popen", lambda *_, **__: sleeper)
    launch.Starter(tmp_path, services_of).launch("prefect", ["python"], {})
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) - 86_400)
    assert [entry.name for entry in service_list.running(tmp_path)] == ["prefect"]
    assert service_list.stop(tmp_path) == ["prefect"]
    assert not service_list.running(tmp_path)


@pytest.fixture
def sleeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Home folder in which services can start, whose programs only sleep."""
    program = tmp_path / "sleeps.py"
    program.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(launch, "command_of", lambda name, host, port: [str(program)])
    monkeypatch.setattr(launch.Starter, "wait", lambda starter, name: time.sleep(0.3))
    monkeypatch.setattr(launch, "deploy_steps", lambda *_: ())
    monkeypatch.setattr(launch, "usable_pools", lambda: ("cpu-pool",))
    home = tmp_path / "home"
    yield home
    service_list.stop(home)


def guards(home: Path) -> list[psutil.Process]:
    """Return the guards that this process has started for a home."""
    program = str(home.parent / "sleeps.py")
    children = psutil.Process().children()
    return [one for one in children if one.is_running() and program in one.cmdline()]


@pytest.mark.drill(
    "two commands in one home",
    "two `services start` at once",
    "each service is started once; `services stop` knows all of them",
)
def test_two_starts_at_once_start_each_service_once(sleeping: Path) -> None:
    """The second one waits for the first, and then finds everything running."""
    with ThreadPoolExecutor(2) as two:
        for start in [two.submit(launch.start, sleeping) for _ in range(2)]:
            start.result()
    listed = service_list.running(sleeping)
    assert {one.name for one in listed} == {"prefect", "mlflow", "worker-cpu-pool"}
    assert {one.pid for one in listed} == {one.pid for one in guards(sleeping)}


@pytest.mark.slow
def test_a_service_whose_guard_was_killed_counts_as_ended_until_services_are_stopped(
    sleeping: Path,
) -> None:
    launch.start(sleeping)
    assert service_list.killed_services(sleeping) == []
    [killed] = [one for one in service_list.running(sleeping) if one.name == "mlflow"]
    psutil.Process(killed.pid).kill()
    until(lambda: service_list.process_of(killed) is None)
    assert [one.name for one in service_list.killed_services(sleeping)] == ["mlflow"]
    service_list.stop(sleeping)
    assert service_list.killed_services(sleeping) == []


@pytest.mark.drill(
    "guard of a service killed",
    "kill -9 of what keeps a server running, under `services start --stay`",
    "the service is started again, the others run on",
)
def test_what_stays_starts_a_killed_service_alone_again(sleeping: Path) -> None:
    launch.start(sleeping)
    before = {one.name: one.pid for one in service_list.running(sleeping)}
    psutil.Process(before["prefect"]).kill()
    until(lambda: service_list.killed_services(sleeping))
    told_to_end = threading.Event()
    watch = threading.Thread(target=launch.stay, args=(sleeping, "", (), told_to_end, 0.2))
    watch.start()
    until(lambda: len(service_list.running(sleeping)) == 3)
    told_to_end.set()
    watch.join()
    after = {one.name: one.pid for one in service_list.running(sleeping)}
    assert {name for name in after if after[name] != before[name]} == {"prefect"}


@pytest.mark.slow
def test_a_killed_service_that_cannot_start_is_tried_again(
    sleeping: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its database, for example, comes back minutes later."""
    launch.start(sleeping)
    [killed] = [one for one in service_list.running(sleeping) if one.name == "prefect"]
    psutil.Process(killed.pid).kill()
    until(lambda: service_list.killed_services(sleeping))
    waits = iter([ReviewLMError("it does not answer")])
    answered = threading.Event()

    def fail_once(starter: launch.Starter, name: str) -> None:
        for error in waits:
            raise error
        answered.set()

    monkeypatch.setattr(launch.Starter, "wait", fail_once)
    monkeypatch.setattr(launch, "LONG_SECONDS", 0.2)
    told_to_end = threading.Event()
    watch = threading.Thread(target=launch.stay, args=(sleeping, "", (), told_to_end, 0.2))
    watch.start()
    until(answered.is_set)
    told_to_end.set()
    watch.join()
    after = {one.name: one.pid for one in service_list.running(sleeping)}
    assert len(after) == 3
    assert after["prefect"] != killed.pid


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("raise SystemExit('no database')", "no database"),
        pytest.param("", "it has ended", marks=pytest.mark.slow),
    ],
    ids=["message", "silent"],
)
def test_a_server_that_ends_ends_the_wait_with_its_last_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    cause: str,
) -> None:
    """And not with the traceback of our own SIGTERM."""
    (tmp_path / "ends.py").write_text(program)
    monkeypatch.setattr(launch, "command_of", lambda *words: [str(tmp_path / "ends.py")])
    with pytest.raises(ReviewLMError) as raised:
        launch.start(tmp_path / "home")
    assert cause in raised.value.cause
    assert service_list.running(tmp_path / "home") == []


@pytest.mark.drill(
    "disk full",
    "no space for the list of services while one after another starts",
    "exit code 5; no process is left that `services stop` does not know",
)
@pytest.mark.slow
@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_start_on_a_full_disk_leaves_no_process(
    sleeping: Path,
    writes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = iter(range(writes))

    def write(path: Path, content: str) -> None:
        if path.name == STATE and next(left, None) is None:
            raise StoreFull("No space is left on the disk")
        path.write_text(content)

    monkeypatch.setattr(service_list, "write_output", write)
    with pytest.raises(StoreFull):
        launch.start(sleeping)
    assert guards(sleeping) == []


@pytest.mark.slow
def test_what_stays_ends_once_the_services_are_stopped(sleeping: Path) -> None:
    launch.start(sleeping)
    service_list.stop(sleeping)
    launch.stay(
        sleeping,
        "",
        (),
        threading.Event(),
        0.2,
    )
    assert guards(sleeping) == []


@pytest.mark.parametrize("again", [False, True])
def test_a_start_creates_only_the_deployments_that_are_missing(
    again: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Schedules that somebody switched on in Prefect's pages, and parameters, outlive a reboot."""
    names = pools_of.deployments_of(("cpu-pool",))
    answers = {
        "/work_pools/filter": [{"name": "cpu-pool", "concurrency_limit": 3}],
        "/deployments/filter": [deployment(name) for name in names if name != "weekly"],
    }
    called: list[tuple[str, ...]] = []
    deployed: list[str] = []

    def call(environment: dict[str, str], home: Path, *words: str) -> None:
        called.append(words)
        written = yaml.safe_load(Path(words[-1]).read_text())
        deployed.extend(entry["name"] for entry in written["deployments"])

    monkeypatch.setattr(
        pools_of, "ask", lambda environment, method, path, *rest: answers.get(path, [])
    )
    monkeypatch.setattr(pools_of, "_prefect", call)
    monkeypatch.setattr(pools_of, "automate", lambda environment, home: None)
    pools_of.deploy({}, ("cpu-pool",), tmp_path, again)
    assert set(deployed) == (set(names) if again else {"weekly"})
    assert len(called) == 1, "the pool is there, and stays as it is"


def deployment(name: str) -> dict[str, Any]:
    """What Prefect's server says of a deployment that is started by hand."""
    settings = {
        "parameters": {},
        "schedules": [],
        "job_variables": {},
        "paused": False,
    }
    return {
        "name": name,
        "global_concurrency_limit": None,
        **settings,
    }


DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def test_deployments_have_the_flows_that_retrain_or_generate() -> None:
    assert {"retrain", "generate"} <= {flow_of(entry["entrypoint"]).name for entry in DEPLOYMENTS}


def test_a_deployment_has_a_schedule() -> None:
    assert any(entry.get("schedules") for entry in DEPLOYMENTS)


@pytest.fixture(params=DEPLOYMENTS, ids=[entry["name"] for entry in DEPLOYMENTS])
def entry(request: pytest.FixtureRequest) -> dict[str, Any]:
    """An entry of `prefect.yaml`."""
    return dict(request.param)


def test_the_parameters_of_a_deployment_are_those_of_its_flow(entry: dict[str, Any]) -> None:
    signature = inspect.signature(flow_of(entry["entrypoint"]).fn)
    assert set(entry["parameters"]) <= set(signature.parameters)


def test_the_preset_of_a_deployment_exists(entry: dict[str, Any]) -> None:
    preset = entry["parameters"].get("preset", "demo")
    assert preset in {*preset_names(), ""}  # "": the champion's own settings


def test_the_pool_of_a_deployment_is_created(entry: dict[str, Any]) -> None:
    assert entry["work_pool"]["name"] in pools_of.POOLS


def flow_of(entrypoint: str) -> object:
    module, name = entrypoint.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def test_services_of_another_user_are_passed_by(
    tmp_path: Path,
    sleeper: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
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


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Names and addresses of the services that would be started; no process is."""
    found: dict[str, str] = {}

    def only_told(
        starter: launch.Starter,
        name: str,
        command: list[str],
        environment: Any,
        address: str = "",
    ) -> None:
        found[name] = address
        starter.services[name] = service_list.Service(name, "", address)

    monkeypatch.setattr(launch.Starter, "launch", only_told)
    monkeypatch.setattr(launch.Starter, "wait", lambda starter, name: None)
    monkeypatch.setattr(launch, "deploy_steps", lambda *_: ())
    monkeypatch.setattr(launch, "usable_pools", lambda: ("cpu-pool",))
    return found


def test_a_link_leads_to_the_port_that_the_home_gets_when_its_pages_start(
    tmp_path: Path,
    taken: int,
    launched: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(launch.DEFAULT_PORTS, "mlflow", taken)
    before = address_of(tmp_path, "mlflow")
    assert before != f"http://127.0.0.1:{taken}", "another program answers there"
    launch.start(tmp_path)
    assert launched["mlflow"] == before == address_of(tmp_path, "mlflow")


@pytest.mark.parametrize("kept", [True, False])
def test_links_of_earlier_runs_are_told_of_only_where_a_port_was_kept(
    tmp_path: Path,
    taken: int,
    launched: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    kept: bool,
) -> None:
    monkeypatch.setitem(launch.DEFAULT_PORTS, "mlflow", taken)
    if kept:
        service_list.keep_ports(tmp_path, {"mlflow": taken})
    note = launch.Starter(tmp_path, {}).serve("mlflow")
    assert launched["mlflow"] in note
    assert ("links of earlier runs" in note) is kept


UNITS = sorted((Path(__file__).resolve().parents[3] / "deploy" / "systemd").glob("*.service"))


def service_of(unit: Path) -> configparser.SectionProxy:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(unit)
    return parsed["Service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_commands_that_the_command_line_takes(unit: Path) -> None:
    service = service_of(unit)
    assert service["Environment"].startswith(f"{HOME_VARIABLE}={service['WorkingDirectory']}/")
    for name in ("ExecStart", "ExecStop"):
        if line := service.get(name, ""):
            program, *words = shlex.split(line)
            assert program == f"{service['WorkingDirectory']}/.venv/bin/reviewlm"
            command = typer.main.get_command(app)
            while hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            command.make_context(unit.stem, words)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_that_systemd_stops_has_not_failed(unit: Path) -> None:
    """Commands end with 128 + SIGTERM; systemd takes that for a failure unless the unit says otherwise."""
    assert service_of(unit)["SuccessExitStatus"] == str(128 + signal.SIGTERM)


@pytest.mark.parametrize("named", ["", "elsewhere"])
def test_services_work_in_the_named_folder_else_in_the_checkout_else_in_the_home(
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Never in the folder of the installed package, nor among modules of the user's."""
    monkeypatch.setenv(pools_of.PROJECT_VARIABLE, str(tmp_path / named) if named else "")
    assert pools_of.working_folder(tmp_path / "home") == (tmp_path / named if named else ROOT)
    monkeypatch.setattr(pools_of, "CHECKOUT", None)
    wanted = tmp_path / (named or "home")
    assert pools_of.working_folder(tmp_path / "home") == wanted
