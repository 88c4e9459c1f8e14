"""Two homes share one Prefect server: they retrain one after the other, and their trainings take turns on one GPU slot.

The processes, the server and its limits are real. The GPU is not: a fit that has its slot runs on the processor.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from reviewlm.core.services.pools import LIMITS
from tests.flows.first_run import ROOT, TINY
from tests.operation.started_services import Services, running_prefect
from tests.programs import command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TWO_NETWORKS = f"""
extends = "{TINY}"
baseline = "lstm"
[source.synthetic]
reviews = 200
""" + "".join(
    f"""
[[models]]
kind = "{kind}"
name = "{kind}"
hidden = 8
embedding = 8
[models.training]
epochs = 0.2
batch = 8
bptt_len = 20
evaluations = 1
precision = "float32"
"""
    for kind in ("lstm", "gru")
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Services, dict[str, str]]]:
    """Prefect's server with the limits of `services start`, and the environment of its clients."""
    with running_prefect(tmp_path_factory.mktemp("limits") / "home") as (services, environment):
        for name in LIMITS:
            create(services, name)
        variables = {
            "CUDA_VISIBLE_DEVICES": "0",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONPATH": str(ROOT),
        }
        yield services, {**environment, **variables}


def create(services: Services, name: str) -> None:
    services.ask("POST", "/v2/concurrency_limits/", {"name": name, "limit": 1})


def start(
    environment: dict[str, str],
    home: Path,
    program: str,
    *words: object,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(program, *words),
        cwd=ROOT,
        env={**environment, "REVIEWLM_HOME": str(home)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def until_said(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if line.startswith(words):
            return
    pytest.fail("".join(told))


def held(process: subprocess.Popen[str]) -> list[tuple[float, float]]:
    """Return the times at which a process held its place, after it has ended well."""
    try:
        told = process.communicate(timeout=300)[0]
    except subprocess.TimeoutExpired:
        # With PYTHONFAULTHANDLER it writes where each of its threads waits.
        process.send_signal(signal.SIGABRT)
        pytest.fail(process.communicate()[0])

    assert process.returncode == 0, told
    lines = [line.split() for line in told.splitlines() if line.startswith("held")]
    return [(float(begun), float(ended)) for _, begun, ended in lines]


def assert_one_after_the_other(places: list[tuple[float, float]]) -> None:
    assert all(ended <= begun for (_, ended), (begun, _) in pairwise(sorted(places)))


@pytest.mark.drill(
    "two retrains at once",
    "two homes train at once on a server with one GPU slot",
    "never two trainings at a time; the other stages go on",
)
def test_two_trainings_take_turns_on_one_gpu_slot_while_other_stages_go_on(
    server: tuple[Services, dict[str, str]],
    template_home: Path,
    tmp_path: Path,
) -> None:
    services, environment = server
    for home in ("one", "two"):
        shutil.copytree(template_home, tmp_path / home)
    preset = tmp_path / "two.toml"
    preset.write_text(TWO_NETWORKS)
    one, two = tmp_path / "one-asked", tmp_path / "two-asked"
    first = start(
        environment,
        tmp_path / "one",
        "train_on_pretended_gpu",
        preset,
        one,
        two,
    )
    until_said(first, "holds")
    second = start(
        environment,
        tmp_path / "two",
        "train_on_pretended_gpu",
        preset,
        two,
        one,
    )
    trainings = [held(process) for process in (first, second)]
    assert [len(places) for places in trainings] == [2, 2]
    assert_one_after_the_other([*trainings[0], *trainings[1]])

    begun, ended = trainings[0][0]
    runs = services.ask("POST", "/task_runs/filter", {"limit": 200})
    meanwhile = [
        run["name"]
        for run in runs
        if run["end_time"]
        and begun <= seconds(run["start_time"])
        and seconds(run["end_time"]) <= ended
    ]
    assert {name.split("-")[0] for name in meanwhile} >= {"ingest", "prepare"}, meanwhile


def seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


@pytest.mark.drill(
    "two retrains at once", "two homes race for the server's one retrain", "one after the other"
)
def test_retrains_of_two_homes_run_one_after_the_other(
    server: tuple[Services, dict[str, str]], tmp_path: Path
) -> None:
    services, environment = server
    services.ask("DELETE", "/v2/concurrency_limits/retrain")  # the first of them creates it
    homes = [tmp_path / name for name in ("one", "two")]
    racing = [
        start(
            environment,
            home,
            "hold_retrain",
            home,
            0.5,
            2,
        )
        for home in homes
    ]
    places = [place for process in racing for place in held(process)]
    assert len(places) == 4
    assert_one_after_the_other(places)
