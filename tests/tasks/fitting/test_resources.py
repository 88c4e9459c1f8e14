"""What a fit uses of the machine: a journal that goes on where it was left, and never says a step twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.fitting.resources import Sampler, parse_gpus, sampled
from tracking.runs.publish import read_journal


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


def steps(file: Path) -> list[int]:
    return [json.loads(line)["step"] for line in file.read_text().splitlines()]


def test_a_sample_says_what_the_process_holds_in_memory(tmp_path: Path):
    clock = Clock()
    sampler = Sampler(tmp_path / "system.jsonl", [os.getpid()], clock=clock)
    clock.now += 3
    held = bytearray(50_000_000)
    sampler.take()
    [line] = [json.loads(text) for text in (tmp_path / "system.jsonl").read_text().splitlines()]
    status = Path("/proc/self/statm").read_text().split()
    resident = int(status[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    assert line["step"] == 3
    assert line["system/fit_memory_megabytes"] == pytest.approx(resident, rel=0.1)
    assert line["system/fit_memory_megabytes"] > len(held) / 1e6
    assert 0 <= line["system/cpu_utilization_percentage"] <= 100
    assert 0 < line["system/system_memory_usage_percentage"] <= 100


def test_a_resumed_fit_goes_on_after_its_last_step_and_no_step_stands_there_twice(tmp_path: Path):
    file, clock = tmp_path / "system.jsonl", Clock()
    first = Sampler(file, [], clock=clock)
    for _ in range(3):
        clock.now += 10
        first.take()
    with file.open("a") as torn:
        torn.write('{"step": 40, "sys')  # killed while it wrote
    clock.now += 86_400  # the machine was down for a day
    second = Sampler(file, [], clock=clock)
    second.take()
    clock.now += 0.5
    second.take()
    clock.now += 10
    second.take()
    assert steps(file) == [10, 20, 30, 40]


def test_its_lines_are_settled_points_of_a_journal(tmp_path: Path):
    clock = Clock()
    sampler = Sampler(tmp_path / "system.jsonl", [], clock=clock)
    clock.now += 1
    sampler.take()
    points = read_journal(tmp_path / "system.jsonl", settled=True)
    assert {point.step for point in points} == {1}
    assert {point.name for point in points} >= {"system/fit_cpu_percentage", "system/fit_memory_megabytes"}
    assert all(abs(point.time - time.time()) < 600 for point in points)


def test_a_process_that_has_ended_counts_nothing(tmp_path: Path):
    clock = Clock()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    sampler = Sampler(tmp_path / "system.jsonl", [process.pid], clock=clock)
    process.communicate(b"\n")
    clock.now += 1
    sampler.take()
    assert json.loads((tmp_path / "system.jsonl").read_text())["system/fit_memory_megabytes"] == 0


def test_a_fit_shorter_than_the_interval_has_a_sample_at_its_end(tmp_path: Path):
    with sampled(tmp_path / "system.jsonl", [os.getpid()], 600):
        time.sleep(1.05)
    assert steps(tmp_path / "system.jsonl") == [1]


def test_no_interval_means_no_samples_and_a_folder_that_is_gone_ends_no_fit(tmp_path: Path):
    with sampled(tmp_path / "system.jsonl", [], 0):
        pass
    with sampled(tmp_path / "gone" / "system.jsonl", [], 0.01):
        time.sleep(1.1)
    assert list(tmp_path.iterdir()) == []


def test_the_words_of_the_gpu_driver_become_figures_of_the_gpus_that_count():
    said = "0, 97, 1024\n1, 3, 12\n"
    assert parse_gpus(said, "0") == {
        "system/gpu_0_utilization_percentage": 97.0, "system/gpu_0_memory_usage_megabytes": 1073.7,
    }
    assert len(parse_gpus(said)) == 4
    with pytest.raises(ValueError, match="unpack"):
        parse_gpus("No devices were found")
