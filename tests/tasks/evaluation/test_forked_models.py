"""Processes for models from one fork server: many at a time, each end of a process is told, none outlives who asked for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from reviewlm.core.config.presets import parse_config
from reviewlm.core.errors import RankFailed
from reviewlm.tasks.evaluation.model_work import ModelWork
from reviewlm.tasks.evaluation.processes import (
    LEAST_TOKENS,
    ModelProcesses,
    end_processes,
    model_processes,
    with_model,
)
from reviewlm.tasks.fitting.fit_process import environment_of
from tests.programs import command
from tests.tasks.evaluation.made_works import bare, in_time, meet, tell, wait, whose

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="processes are forked on Linux only"
)
CONFIG = parse_config({"execution": {"device": "cpu"}})


def test_work_after_the_end_of_all_processes_starts_others(
    made: tuple[Path, Path, Path],
) -> None:
    with model_processes(CONFIG.execution, LEAST_TOKENS):
        process, server = (
            with_model(CONFIG.execution, bare(whose, made[0]))[name]
            for name in ("process", "parent")
        )
        end_processes()
        in_time(lambda: not psutil.pid_exists(process) and not psutil.pid_exists(server))
        assert with_model(CONFIG.execution, bare(tell, made[0]))["process"] not in {process, server}
    end_processes()


def busy(
    processes: ModelProcesses,
    work: ModelWork,
    file: Path,
) -> tuple[Future[Any], psutil.Process, psutil.Process]:
    """Let another thread do a work that writes its process's number to a file; return process and fork server, too."""
    done = ThreadPoolExecutor(1).submit(processes.do, work, int)
    process, server = in_time(lambda: file.exists() and file.read_text(encoding="ascii").split())
    return done, psutil.Process(int(process)), psutil.Process(int(server))


@pytest.mark.slow
def test_processes_that_are_at_work_end_at_once_with_all_others(
    made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    found = ModelProcesses()
    work = ModelWork(
        wait,
        "kn",
        made[0],
        {"own": "told"},
        work=tmp_path,
    )
    done, process, server = busy(found, work, tmp_path / "told")
    found.end()
    in_time(lambda: not process.is_running() and not server.is_running())
    with pytest.raises(RankFailed):
        done.result(20)


@pytest.mark.slow
def test_processes_end_with_the_process_that_asked_for_them(
    made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command("wait_in_model_process", made[0], tmp_path), env=environment
    ) as asking:
        said = in_time(
            lambda: (tmp_path / "told").exists() and (tmp_path / "told").read_text(encoding="ascii")
        )
        family = [psutil.Process(int(pid)) for pid in said.split()]
        asking.kill()
    assert in_time(
        lambda: all(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in family)
    )


@pytest.mark.slow
def test_libraries_of_fork_servers_have_started_no_threads_to_compute_with() -> None:
    """They would not exist in the processes that it forks, where polars waits for them without end.

    Threads that its libraries start when they are imported tidy up, and nothing waits for them.
    """
    environment = {**environment_of(1), "PYTHONPATH": str(ROOT)}
    said = subprocess.run(
        command("list_fork_server_threads"),
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert eval(said.stdout) <= {"jemalloc_bg_thd", "polars-ooc-clea"}


def meeting(bundle: Path, folder: Path) -> tuple[ModelWork, ModelWork]:
    """Two works that each wait until the other one has begun."""
    return (
        ModelWork(
            meet,
            "one",
            bundle,
            {"own": "one", "other": "two"},
            work=folder,
        ),
        ModelWork(
            meet,
            "two",
            bundle,
            {"own": "two", "other": "one"},
            work=folder,
        ),
    )


@pytest.fixture
def running() -> Iterator[ModelProcesses]:
    found = ModelProcesses()
    yield found
    found.end()


def test_two_works_at_a_time_are_done_by_two_processes_of_one_fork_server(
    made: tuple[Path, Path, Path],
    running: ModelProcesses,
    tmp_path: Path,
) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda work: running.do(work, int), meeting(made[0], tmp_path))
    assert one["process"] != two["process"]
    assert one["parent"] == two["parent"] != os.getpid()
