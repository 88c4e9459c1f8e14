"""Sample the resource use of a fit while it runs: processor, memory and, if there is one, the GPU.

The samples go into a separate journal next to the trainer's. So they reach MLflow the same way: in batches, each sample
once, also after a kill and a resume. (MLflow's own monitor needs its fluent interface, and restarts its steps at 0.)
The MLflow UI shows names that begin with "system/" on a separate page. Steps are seconds of the fit.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from core.processes.children import side_thread

SYSTEM_JOURNAL = "system.jsonl"
MEGABYTE = 1e6
GPU_QUERY = ("nvidia-smi", "--query-gpu=index,utilization.gpu,memory.used,uuid", "--format=csv,noheader,nounits")
log = logging.getLogger(__name__)


@contextmanager
def sampled(
    file: Path, pids: Sequence[int], seconds: float, gpu: bool = False, visible: str | None = None
) -> Iterator[None]:
    """Append a sample to *file* every *seconds* seconds while the block runs, and one at its end.

    Args:
        file: JSON lines file; sampling continues after its last step.
        pids: Process ids of the fit.
        seconds: Seconds between two samples; 0: no sampling.
        gpu: Whether to sample the GPUs too.
        visible: Those of the fit, as in CUDA_VISIBLE_DEVICES; None: all.
    """
    if not seconds:
        yield
        return
    sampler = Sampler(file, pids, gpu, visible=visible)
    with side_thread(lambda ended: _sample(sampler, seconds, ended)):
        yield


def _sample(sampler: Sampler, seconds: float, ended: threading.Event) -> None:
    try:
        while not ended.wait(seconds):
            sampler.take()
        sampler.take()
    except OSError as error:  # a missing chart must not fail the fit
        log.warning("the machine's resources are no longer sampled: %s", error)


class Sampler:
    """Writer of resource samples to a journal.

    Args:
        file: JSON lines file; an incomplete last line, left by a kill, is removed.
        pids: Process ids of the fit; processes that have ended count as 0.
        gpu: Whether to sample the GPUs too.
        clock: Returns the time in seconds.
        visible: The GPUs of the fit, as in CUDA_VISIBLE_DEVICES; None: all.
    """

    def __init__(
        self, file: Path, pids: Sequence[int], gpu: bool = False, clock: Callable[[], float] = time.monotonic,
        visible: str | None = None,
    ) -> None:  # fmt: skip
        self._file, self._gpu, self._clock, self._visible = file, gpu, clock, visible
        self._processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        self._last = _last_step(file)
        self._began = clock() - max(self._last, 0)
        psutil.cpu_percent()  # the first value is meaningless; later ones cover the time since the last call
        for process in self._processes:
            _percent(process)

    def take(self) -> None:
        """Write one sample, unless less than a second has passed since the last one."""
        step = int(self._clock() - self._began)
        if step <= self._last:
            return
        self._last = step
        line = json.dumps({"step": step, "time": time.time(), **self._figures(), "settled": True})
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _figures(self) -> dict[str, float]:
        memory = psutil.virtual_memory()
        return {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": round(memory.used / MEGABYTE, 1),
            "system/system_memory_usage_percentage": memory.percent,
            "system/fit_cpu_percentage": round(sum(_percent(process) for process in self._processes), 1),
            "system/fit_memory_megabytes": round(sum(_resident(process) for process in self._processes) / MEGABYTE, 1),
            **(gpu_figures(self._visible) if self._gpu else {}),
        }


def gpu_figures(visible: str | None) -> dict[str, float]:
    """Return utilisation and memory of GPUs from nvidia-smi, see `parse_gpus`; empty if it does not answer."""
    try:
        output = subprocess.run(GPU_QUERY, capture_output=True, text=True, timeout=10, check=True).stdout
        return parse_gpus(output, visible)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.debug("nvidia-smi: %s", error)
        return {}


def parse_gpus(output: str, visible: str | None = None) -> dict[str, float]:
    """Parse lines "index, percent, MiB, UUID"; *visible* has the GPUs to keep, in the form of CUDA_VISIBLE_DEVICES.

    A part of a GPU (MIG) has no line.

    Raises:
        ValueError: A line has a different form.
    """
    chosen = [name.strip() for name in visible.split(",")] if visible else None
    figures = {}
    for line in output.strip().splitlines():
        index, percent, mebibytes, *uuid = (part.strip() for part in line.split(","))
        beginnings = tuple(name for name in chosen or () if name.startswith("GPU-"))
        if chosen is None or index in chosen or (uuid and uuid[0].startswith(beginnings)):
            figures[f"system/gpu_{index}_utilization_percentage"] = float(percent)
            figures[f"system/gpu_{index}_memory_usage_megabytes"] = round(float(mebibytes) * 2**20 / MEGABYTE, 1)
    return figures


def _percent(process: psutil.Process) -> float:
    """Return the processor use since the last call, in percent of one core; 0 if the process has ended."""
    try:
        return float(process.cpu_percent())
    except psutil.Error:
        return 0.0


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _last_step(file: Path) -> int:
    """Return the last step of a journal, −1 if it has none; remove an incomplete last line."""
    if not file.is_file():
        return -1
    text = file.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        os.truncate(file, len(whole))
    lines = whole.splitlines()
    return int(json.loads(lines[-1])["step"]) if lines else -1
