"""On a real Prefect server: a slot is held by one process at a time, and a missing limit is an error."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.operation.real_server.asked_server import post, run
from tests.programs import command

pytestmark = [pytest.mark.slow, pytest.mark.long]  # a server of its own, and waits of half a minute


@pytest.mark.drill(
    "two retrains at once",
    "two processes wait for the promotion slot, three times each",
    "never both in it",
)
def test_two_processes_never_hold_the_one_slot_at_a_time(server: dict[str, str]) -> None:
    """Each process notes when it holds the slot."""
    create = [sys.executable, "-m", "prefect", "gcl", "create", "promotion", "--limit", "1"]
    # Fails if the test before has created it.
    subprocess.run(
        create,
        env=server,
        capture_output=True,
        timeout=120,
    )
    words = command("hold_slot", "promotion", 0.5, 3)
    both = [
        subprocess.Popen(
            words,
            env=server,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    held = []
    for process in both:
        lines = [line.split() for line in process.communicate(timeout=280)[0].splitlines()]
        held += [(float(line[1]), float(line[2])) for line in lines if line[0] == "released"]

    held.sort()
    assert len(held) == 6
    assert all(ended <= begun for (_, ended), (begun, _) in pairwise(held))


@pytest.mark.drill(
    "worker and flow killed together",
    "kill -9 of the process that holds a GPU's slot",
    "the slot is free within Prefect's five minutes",
)
@pytest.mark.timeout(600)
def test_the_slot_of_a_killed_process_is_free_within_minutes(
    server: dict[str, str], record_property: Callable[[str, object], None]
) -> None:
    create = [sys.executable, "-m", "prefect", "gcl", "create", "gpu", "--limit", "1"]
    subprocess.run(
        create,
        env=server,
        check=True,
        capture_output=True,
        timeout=120,
    )
    holder = subprocess.Popen(
        command("hold_slot", "gpu", 600, 1),
        env=server,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    killed = time.time()
    holder.communicate()
    taken = run(
        server,
        "hold_slot",
        "gpu",
        0,
        1,
        seconds=480,
    ).split()[-2]
    seconds = round(float(taken) - killed, 1)
    record_property("seconds until it is free", seconds)
    assert seconds <= 360


def test_an_interrupted_command_gives_its_slot_back(server: dict[str, str]) -> None:
    create = [sys.executable, "-m", "prefect", "gcl", "create", "retrain", "--limit", "1"]
    subprocess.run(
        create,
        env=server,
        check=True,
        capture_output=True,
        timeout=120,
    )
    holder = subprocess.Popen(
        command("hold_slot", "retrain", 600, 1),
        env=server,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGINT)
    assert holder.wait(30) == 128 + signal.SIGINT
    limits = post(server, "v2/concurrency_limits/filter", {})
    assert [one["active_slots"] for one in limits if one["name"] == "retrain"] == [0]
