"""A process is called gone only where that is certain."""

from __future__ import annotations

import subprocess
import sys

import pytest

from core.processes.leftovers import is_gone, this_machine, this_process


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_one_that_has_ended_is_gone_and_so_is_one_whose_number_was_given_to_another() -> None:
    start = this_process().split()[-1]
    assert is_gone(f"{this_machine()} {ended_process()} {start}")
    assert is_gone(f"{this_process().rpartition(' ')[0]} {int(start) - 1}")


@pytest.mark.parametrize("machine", ["another-host 1 0d1f", "{host} 4026530000 {boot}"])
def test_of_one_on_another_machine_or_in_another_container_nothing_is_known(machine: str) -> None:
    host, _, boot = this_machine().split()
    assert not is_gone(f"{machine.format(host=host, boot=boot)} {ended_process()} 1")
    assert not is_gone("what an earlier version wrote 12")
