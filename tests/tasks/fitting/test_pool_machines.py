"""Workers on several machines train one network together: the model is that of as many ranks on one machine."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.config.run_config import RunConfig
from core.config.sections.execution import ExecutionConfig
from core.errors import ConfigError, OutOfMemory, PoolFailed
from core.storing.job_exchange import JobExchange
from core.storing.remote import remote_store
from tasks.fitting import fit_process, pool_link
from tasks.fitting.fit_process import environment_of, run_job
from tasks.fitting.meeting import (
    ADDRESS_VARIABLE,
    Meeting,
    interface_of,
    listening_at,
    own_address,
    require_reachable,
)
from tasks.fitting.pool_runs import RunState
from tests.tasks.fitting.pool_homes import Team, digest, exchange_of, handed_over, home, job_in, network


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REVIEWLM_HOME", raising=False)
    monkeypatch.setenv(ADDRESS_VARIABLE, "127.0.0.1")
    for name, seconds in (("BEAT_SECONDS", 0.05), ("LIST_SECONDS", 0.1), ("LOOK_SECONDS", 0.05)):
        monkeypatch.setattr(pool_link, name, seconds)
    monkeypatch.setattr(fit_process, "PATIENCE", 0.5)
    remote_store.cache_clear()


def homes_of(tmp_path: Path, *names: str) -> list[RunConfig]:
    return [home(tmp_path, name) for name in names]


def fitted_by_two_ranks_here(tmp_path: Path, spec: Any) -> str:
    job = replace(job_in(home(tmp_path, "here"), spec, tmp_path / "here" / "work"), ranks=2)
    run_job(job, lambda news: None)
    return digest(job.work)


@pytest.mark.slow
def test_two_workers_make_the_model_of_two_ranks_on_one_machine(tmp_path: Path) -> None:
    spec, mine = network(epochs=40), home(tmp_path, "mine")
    job, heard = job_in(mine, spec, tmp_path / "mine" / "work"), list[dict[str, Any]]()
    pool = handed_over(mine, spec, Team(homes_of(tmp_path, "one", "other")), machines=2)
    pool(job, heard.append)
    pool.forget()
    assert digest(job.work) == fitted_by_two_ranks_here(tmp_path, spec)
    assert pool.made_by["resources"] == {"device": "cpu", "ranks": 1, "threads": 1, "machines": 2, "all_ranks": 2}
    assert [news["step"] for news in heard] == sorted(news["step"] for news in heard)
    assert heard
    assert not list((tmp_path / "shared" / "jobs").rglob("*"))
    for name in ("one", "other"):
        assert not (tmp_path / name / "jobs").exists()


WORKER = """
import json, sys
from core.config.presets import load_config
from tasks.fitting import pool_link
from tasks.fitting.pool_worker import do_for_pool
pool_link.BEAT_SECONDS, pool_link.LIST_SECONDS = 0.05, 0.1
settings, job, run, place = json.loads(sys.argv[1])
do_for_pool.fn(load_config("demo", settings), job, run, place)
"""
"""A worker in a process of its own."""


def process_of(
    config: RunConfig, job: str, run: str, place: int, before: tuple[str, ...] = (), **environment: str
) -> subprocess.Popen[bytes]:
    settings = [f"execution.{name}={getattr(config.execution, name)}" for name in ("remote_store", "home")]
    words = json.dumps([[*settings, "execution.threads=1", "execution.device=cpu"], job, run, place])
    command = [*before, sys.executable, "-c", WORKER, words]
    return subprocess.Popen(command, cwd=Path(__file__).parents[3], env={**os.environ, **environment})


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker with all its processes, as a machine that loses its power: none can tell of the others."""
    for one in (process, *psutil.Process(process.pid).children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


@pytest.mark.drill(
    "worker lost", "kill -9 of one of two machines that train one network together",
    "all begin again from the last checkpoint; the same model",
)  # fmt: skip
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("lost", [0, 1])
def test_after_the_loss_of_one_machine_the_others_begin_again_from_the_last_checkpoint(
    lost: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec, mine = network(epochs=150, evaluations=75), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")

    class Killed(Team):
        """One worker of the first two is killed as soon as checkpoints, of two files each, have arrived."""

        def work(self, config: RunConfig, job: str, run: str, place: int = 0) -> None:
            if run != f"run-{lost}":
                super().work(config, job, run, place)
                return
            process = process_of(config, job, run, place)
            self.states[run] = RunState("running")
            exchange = exchange_of(tmp_path)
            while sum(name.startswith("checkpoints") for name in (exchange.read("work") or {"files": ()})["files"]) < 4:
                assert process.poll() is None, "it ended too early to be killed"
                time.sleep(0.05)
            kill(process)
            self.states[run] = RunState("crashed")

    team = Killed(homes_of(tmp_path, "one", "other", "third", "fourth"))
    with caplog.at_level(logging.INFO):
        handed_over(mine, spec, team, machines=2)(job, lambda news: None)
    assert "its worker is lost; the next one continues" in caplog.text
    assert "training resumes after" in caplog.text
    assert digest(job.work) == fitted_by_two_ranks_here(tmp_path, spec)


@pytest.mark.slow
def test_the_error_of_one_machine_is_told_and_not_that_the_others_lost_it(tmp_path: Path) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")

    class Poor(Team):
        """The second worker's memory does not suffice, after it has agreed where to meet."""

        def work(self, config: RunConfig, job: str, run: str, place: int = 0) -> None:
            if not place:
                super().work(config, job, run, place)
                return
            other = pool_link.JobLink(exchange_of(tmp_path), run, config.home, place)
            with other.heartbeats():
                other.require_others("cpu", 2)
                other.meeting(1, 2)
                other.fail({"run": other.team, "machine": "poor"}, OutOfMemory("There is not enough memory"))
            self.states[run] = RunState("failed")

    team = Poor(homes_of(tmp_path, "one", "other"))
    with pytest.raises(OutOfMemory, match="not enough memory") as told:
        handed_over(mine, spec, team, machines=2)(job, lambda news: None)
    assert "poor" in str(told.value.where)
    team.threads[0].join(30)
    assert not team.threads[0].is_alive(), "the others end, too"


def test_a_machine_that_does_not_come_ends_the_wait_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_link, "MEET_SECONDS", 0.5)
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")

    class Alone(Team):
        """Only the first worker takes its run."""

        def work(self, config: RunConfig, job: str, run: str, place: int = 0) -> None:
            if not place:
                super().work(config, job, run, place)

    with pytest.raises(ConfigError, match="2 workers are needed to train one network, and not all of them joined"):
        handed_over(mine, spec, Alone(homes_of(tmp_path, "one", "other")), machines=2)(job, lambda news: None)


@pytest.mark.parametrize(
    ("homes", "devices", "said"),
    [(("one", "one"), ("cpu", "cpu"), "are on one machine"), (("one", "other"), ("cpu", "cuda"), "different devices")],
)
def test_workers_that_do_not_fit_together_are_told_at_once(
    homes: tuple[str, str], devices: tuple[str, str], said: str, tmp_path: Path
) -> None:
    exchange = exchange_of_new(tmp_path)
    exchange.write("wanted", {"run": "a,b"})
    first, second = (pool_link.JobLink(exchange, "ab"[place], tmp_path / homes[place], place) for place in range(2))
    with first.heartbeats(), second.heartbeats():
        second.require_others(devices[1], 2)
        with pytest.raises(ConfigError, match=said):
            first.require_others(devices[0], 2)


def exchange_of_new(tmp_path: Path) -> JobExchange:
    """Return the objects of a job whose description says nothing."""
    (tmp_path / "shared").mkdir()
    exchange = exchange_of(tmp_path)
    exchange.write("job", {})
    return exchange


def test_an_interrupted_run_ends_the_workers_that_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, mine = network(), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")

    class Alone(Team):
        """Only the first worker takes its run."""

        def work(self, config: RunConfig, job: str, run: str, place: int = 0) -> None:
            if not place:
                super().work(config, job, run, place)

    team = Alone(homes_of(tmp_path, "one", "other"))
    waiting = lambda: (exchange_of(tmp_path).read("claim") or {}).get("run") == "run-0"  # noqa: E731
    monkeypatch.setattr("tasks.fitting.pool_caller.interrupted", waiting)
    with pytest.raises(PoolFailed, match="was interrupted"):
        handed_over(mine, spec, team, machines=2)(job, lambda news: None)
    team.threads[0].join(30)
    assert not team.threads[0].is_alive()


# --- two networks


@pytest.fixture
def two_machines() -> Iterator[dict[str, str]]:
    """Two network namespaces with a cable between them; yield address by name."""
    machines = {"reviewlm-one": "10.231.77.1", "reviewlm-other": "10.231.77.2"}

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        for name in machines:
            ip("netns", "add", name)
        ip("link", "add", "rlm-a", "netns", "reviewlm-one", "type", "veth", "peer", "rlm-b", "netns", "reviewlm-other")
        for (name, address), card in zip(machines.items(), ("rlm-a", "rlm-b"), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", card)
            for link_name in (card, "lo"):
                ip("-n", name, "link", "set", link_name, "up")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces can be made here: {error}")
    try:
        yield machines
    finally:
        for name in machines:
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.mark.slow
@pytest.mark.long
def test_two_machines_with_networks_of_their_own_train_one_network(
    tmp_path: Path, two_machines: dict[str, str]
) -> None:
    spec, mine = network(epochs=40), home(tmp_path, "mine")
    job = job_in(mine, spec, tmp_path / "mine" / "work")

    class Apart(Team):
        """Each worker sees only its own end of the cable."""

        def work(self, config: RunConfig, job: str, run: str, place: int = 0) -> None:
            name, address = list(two_machines.items())[place]
            inside = ("ip", "netns", "exec", name)
            process = process_of(config, job, run, place, inside, **{ADDRESS_VARIABLE: address})
            self.states[run] = RunState("running")
            self.states[run] = RunState("completed" if process.wait() == 0 else "failed")

    handed_over(mine, spec, Apart(homes_of(tmp_path, "one", "other")), machines=2)(job, lambda news: None)
    assert digest(job.work) == fitted_by_two_ranks_here(tmp_path, spec)


# --- addresses


def test_ranks_are_counted_over_all_machines_and_meet_at_the_address_of_the_first() -> None:
    meeting = Meeting("10.0.0.1", 4000, first=2, ranks=5, interface="eth7")
    found = environment_of(1, ranks=3, rank=1, meeting=meeting)
    assert [found[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")] == ["3", "1", "5", "3"]
    assert found["GLOO_SOCKET_IFNAME"] == found["NCCL_SOCKET_IFNAME"] == "eth7"
    assert meeting.address == "tcp://10.0.0.1:4000"
    assert replace(meeting, host="fe80::1").address == "tcp://[fe80::1]:4000"


def test_the_interface_follows_from_the_address_and_one_of_another_machine_is_refused() -> None:
    assert interface_of("127.0.0.1") == "lo"
    with pytest.raises(ConfigError, match="cannot reach this worker") as found:
        interface_of("192.0.2.1")  # of no machine: RFC 5737
    assert "--address" in found.value.remedy
    with pytest.raises(ConfigError, match="cannot reach this worker"):
        interface_of("no such host.invalid")


def test_a_host_name_that_means_the_loopback_is_no_address_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    monkeypatch.delenv(ADDRESS_VARIABLE)
    with pytest.raises(ConfigError, match="cannot reach this worker") as found:
        interface_of(own_address())
    assert "127.0.0.1" in found.value.cause


def test_a_machine_that_cannot_be_reached_is_told_before_any_rank_waits_for_it() -> None:
    with listening_at("127.0.0.1") as port:
        require_reachable("127.0.0.1", port)
    with pytest.raises(ConfigError, match="cannot reach the leading worker") as found:
        require_reachable("127.0.0.1", port)
    assert "--address" in found.value.remedy


def test_machines_need_a_pool() -> None:
    with pytest.raises(ValueError, match="fit_machines above 1 needs fit_pool"):
        ExecutionConfig(fit_machines=2)
