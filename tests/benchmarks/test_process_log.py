"""CPU seconds of a tree of processes: none is lost at the end of a process, and none counts twice."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from resource import RUSAGE_CHILDREN

import psutil
import pytest

from benchmarks.process_log import PRIVATE, SERVER, CpuAccount, ProcessLog, Reading, Sample, private_bytes
from benchmarks.processes import cpu_seconds

FIRST, CHILD, GRANDCHILD = 10, 20, 30
OUTSIDE = 1


def reading(parent: int, own: float, waited: float = 0.0, created: float = 5.0, is_server: bool = False) -> Reading:
    return Reading(created, parent, own, waited, is_server)


def counted(*samples: dict[int, Reading]) -> list[float]:
    """The CPU seconds of the pipeline after each sample."""
    account, seconds = CpuAccount(), []
    for sample in samples:
        account.add(sample)
        seconds.append(round(account.pipeline, 6))
    return seconds


def test_living_processes_count_with_what_each_has_used() -> None:
    assert counted(
        {FIRST: reading(OUTSIDE, 1.0)},
        {FIRST: reading(OUTSIDE, 1.5), CHILD: reading(FIRST, 0.25)},
        {FIRST: reading(OUTSIDE, 1.5), CHILD: reading(FIRST, 2.25)},
    ) == [1.0, 1.75, 3.75]


def test_the_last_moments_of_a_child_that_dies_between_samples_are_in_its_parents_counter() -> None:
    assert counted(
        {FIRST: reading(OUTSIDE, 1.0), CHILD: reading(FIRST, 2.0)},
        {FIRST: reading(OUTSIDE, 1.5, waited=2.4)},
    ) == [3.0, 3.9], "0.5 of the first, 0.4 of the child; its 2.0 are counted already"


def test_a_child_that_no_sample_has_seen_counts_whole() -> None:
    assert counted({FIRST: reading(OUTSIDE, 1.0)}, {FIRST: reading(OUTSIDE, 1.0, waited=0.3)}) == [1.0, 1.3]


def test_a_child_counts_once_where_its_parent_waits_for_it_only_later() -> None:
    assert counted(
        {FIRST: reading(OUTSIDE, 1.0), CHILD: reading(FIRST, 2.0)},
        {FIRST: reading(OUTSIDE, 1.0)},
        {FIRST: reading(OUTSIDE, 1.0, waited=2.4)},
        {FIRST: reading(OUTSIDE, 1.0, waited=2.5)},
    ) == [3.0, 3.0, 3.4, 3.5], "the last 0.1 are of another child"


@pytest.mark.parametrize("samples", [
    [
        {FIRST: reading(OUTSIDE, 1.0), CHILD: reading(FIRST, 1.0), GRANDCHILD: reading(CHILD, 1.0)},
        {FIRST: reading(OUTSIDE, 1.0), CHILD: reading(FIRST, 1.0, waited=1.2)},
        {FIRST: reading(OUTSIDE, 1.0, waited=2.3)},
    ],
    [
        {FIRST: reading(OUTSIDE, 1.0), CHILD: reading(FIRST, 1.0), GRANDCHILD: reading(CHILD, 1.0)},
        {FIRST: reading(OUTSIDE, 1.0, waited=2.3)},
    ],
    [
        {FIRST: reading(OUTSIDE, 1.0), GRANDCHILD: reading(CHILD, 1.0), CHILD: reading(FIRST, 1.0)},
        {FIRST: reading(OUTSIDE, 1.0), CHILD: reading(FIRST, 1.1)},
        {FIRST: reading(OUTSIDE, 1.0, waited=2.3)},
    ],
], ids=["one after the other", "at once", "the child waits after the sample"])  # fmt: skip
def test_grandchildren_come_up_through_their_parents(samples: list[dict[int, Reading]]) -> None:
    assert counted(*samples)[-1] == 3.3, "the first has 1.0, and has waited for 2.3"


def test_an_orphan_goes_on_to_count_and_its_end_takes_nothing_from_others() -> None:
    assert counted(
        {FIRST: reading(OUTSIDE, 1.0), CHILD: reading(FIRST, 1.0), GRANDCHILD: reading(CHILD, 1.0)},
        {FIRST: reading(OUTSIDE, 1.0, waited=1.0), GRANDCHILD: reading(OUTSIDE, 3.0)},
        {FIRST: reading(OUTSIDE, 1.0, waited=1.5)},
    ) == [3.0, 5.0, 5.5]


def test_a_number_that_is_used_again_is_another_process() -> None:
    assert counted(
        {FIRST: reading(OUTSIDE, 1.0), CHILD: reading(FIRST, 2.0)},
        {FIRST: reading(OUTSIDE, 1.0, waited=2.0), CHILD: reading(FIRST, 0.5, created=6.0)},
        {FIRST: reading(OUTSIDE, 1.0, waited=2.6)},
    ) == [3.0, 3.5, 3.6]


def test_the_server_counts_apart_and_the_rest_of_the_total_comes_at_the_end() -> None:
    account = CpuAccount()
    account.add({FIRST: reading(OUTSIDE, 1.0), CHILD: reading(FIRST, 2.0, is_server=True)})
    assert (account.pipeline, account.server) == (1.0, 2.0)
    account.close(3.5)
    assert (account.pipeline, account.server) == (1.5, 2.0)
    account.close(3.0)
    assert (account.pipeline, account.server) == (1.5, 2.0), "an orphan is not in the total of the kernel"


def test_a_real_child_of_a_child_counts_once() -> None:
    busy = "import time\nwhile time.process_time() < 0.35: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    before = cpu_seconds(RUSAGE_CHILDREN)
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        log = ProcessLog(process.pid)
        log.start()
        process.wait()
        log.end()
    total = cpu_seconds(RUSAGE_CHILDREN) - before
    assert 0.35 <= log.samples[-1].cpu == pytest.approx(total, abs=0.1), "hundredths are rounded for each process"
    assert log.samples[-1].server_cpu == 0.0
    assert all(before.time <= after.time and before.cpu <= after.cpu for before, after in pairwise(log.samples))
    assert log.peak(0, log.samples[-1].time) > 1


def test_a_program_that_is_prefects_server_counts_as_such_with_what_it_starts() -> None:
    """By the words of its command line, as `start_child` writes them."""
    busy = "import time\nwhile time.process_time() < 0.35: pass"
    server = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {server!r}, 'flows.server.private_program'])"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        log = ProcessLog(process.pid)
        log.start()
        process.wait()
        log.end()
    assert max(one.server for one in log.samples) > 1
    assert log.samples[-1].server_cpu > 0


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the kernel does not tell shares of pages")
def test_pages_that_two_processes_share_since_a_fork_count_once() -> None:
    code = (
        "import os, sys\nheld = bytes(range(256)) * (100 << 12)\nos.fork()\n"
        "os.write(1, b'%d\\n' % os.getpid())\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin
        assert parent.stdout
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        each = [private_bytes(psutil.Process(pid)) for pid in pids]
        parent.stdin.close()
    assert all(50 << 20 < one < 75 << 20 for one in each), "half of 100 MiB, and what Python holds itself"


def test_values_between_samples_grow_evenly_and_peaks_are_of_samples() -> None:
    log = ProcessLog(1)
    log.samples = [Sample(100.0, 0, 0, 0), Sample(110.0, 300, 50, 200, 4.0, 1.0), Sample(120.0, 200, 80, 150, 5.0, 1.0)]
    assert log.at([100.0, 105.0, 110.0, 115.0, 130.0]) == [0.0, 2.0, 4.0, 4.5, 5.0]
    assert (log.peak(100, 120), log.peak(115, 120), log.peak(100, 120, SERVER)) == (300, 200, 80)
    assert log.peak(120, 121, PRIVATE) == 150
    assert log.peak(111, 119) is None, "too short to be seen is not 0"
