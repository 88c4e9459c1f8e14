"""Check packages, memory, disks and GPU of this machine."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.environment import driver_problem, present_gpus, torch_cuda, visible_gpus
from core.processes.leftovers import lasting_folder
from reviewlm.terminal import size

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

State = Literal["ok", "warning", "problem"]
DISTRIBUTION = "reviewlm"
HOME_BYTES = (200e6, 2e9)
"""Free space of the home folder below which commands fail (the demo writes 141 MB), and are likely to fail."""
TEMPORARY_BYTES = (50e6, 500e6)
MEMORY_BYTES = (500e6, 2e9)
"""Memory below which importing the frameworks alone fails, and below which training is likely to fail."""
INSTALL = "pip install -c constraints.txt -e . (make install)"


@dataclass(frozen=True)
class HealthLine:
    """Result of a check of `reviewlm doctor`.

    Args:
        check: Name of the check.
        state: "problem" if commands will fail, "warning" if something may fail or is slower than it could be.
        found: What was found.
        remedy: What to do about it; empty if nothing needs to be done.
    """

    check: str
    state: State
    found: str
    remedy: str = ""

    def in_words(self) -> str:
        """Return the result as one line of the terminal."""
        remedy = f". To do: {self.remedy}" if self.remedy else ""
        return " ".join(f"{self.state:<8} {self.check}: {self.found}{remedy}".splitlines())


def check_packages(config: RunConfig) -> Iterator[HealthLine]:
    """Compare installed packages with the versions that the project declares."""
    from packaging.requirements import Requirement

    wrong: list[tuple[bool, str]] = []
    number = 0
    for text in requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        number += needed
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            if needed:
                wrong.append((needed, f"{requirement.name} is missing (needed: {requirement.specifier or 'any'})"))
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append((needed, f"{requirement.name} {installed} (needed: {requirement.specifier})"))
    if not wrong:
        found = f"{number} have the declared versions, for Python {platform.python_version()} ({sys.executable})"
        yield HealthLine("packages", "ok", found)
    for needed in (True, False):
        if names := sorted({text for required, text in wrong if required == needed}):
            state: State = "problem" if needed else "warning"
            of = "" if needed else "of optional features: "
            yield HealthLine("packages", state, of + "; ".join(names), INSTALL)


def check_memory(config: RunConfig) -> Iterator[HealthLine]:
    """Compare the available memory, also that of a container, with what commands need."""
    import psutil

    free = min(psutil.virtual_memory().available, _memory_of_container())
    yield _amount("memory", free, MEMORY_BYTES, "available", "end other programs, or choose smaller models")


def _memory_of_container(group: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the memory that a control group leaves, infinity without a limit."""
    try:
        limit = (group / "memory.max").read_text().strip()
        return float("inf") if limit == "max" else int(limit) - int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return float("inf")


def check_disks(config: RunConfig) -> Iterator[HealthLine]:
    """Check the free space of the home folder and of the temporary folder."""
    places = (
        ("disk", config.home, HOME_BYTES, "free some space, or move the home with REVIEWLM_HOME"),
        ("temporary files", lasting_folder(), TEMPORARY_BYTES, "free some space, or set TMPDIR"),
    )
    for name, folder, limits, remedy in places:
        place = next(at for at in (folder, *folder.parents) if at.exists())
        about = os.statvfs(place)
        yield _amount(name, about.f_bavail * about.f_frsize, limits, f"free in {place}", remedy)
        if about.f_files and not about.f_favail:
            yield HealthLine(name, "problem", f"no more files can be made in {place} (no free inodes)", remedy)


def _amount(name: str, free: float, limits: tuple[float, float], what: str, remedy: str) -> HealthLine:
    fails, tight = limits
    state: State = "problem" if free < fails else "warning" if free < tight else "ok"
    return HealthLine(name, state, f"{size(int(free))} {what}", "" if state == "ok" else remedy)


def check_gpu(config: RunConfig, devices: Path = Path("/dev")) -> Iterator[HealthLine]:
    """Say whether a GPU is used, and if not, why. *devices*: folder of device files."""
    device, present = config.execution.device, present_gpus(devices)
    if device == "cpu" or not present:
        needed = device == "cuda"
        result = "no GPU found" if needed else "none, the processor is used"
        yield HealthLine("GPU", "problem" if needed else "ok", result, "set execution.device=auto" if needed else "")
        return
    reasons = (
        (not torch_cuda(), "torch is a build for processors only", "install the build for your CUDA driver"),
        (not visible_gpus(devices), "it is hidden by CUDA_VISIBLE_DEVICES", "unset it"),
        (bool(driver_problem()), driver_problem(), "load or update the driver, or install torch for an older CUDA"),
    )
    for is_so, reason, remedy in reasons:
        if is_so:
            state: State = "problem" if device == "cuda" else "warning"
            yield HealthLine("GPU", state, f"there is one, but {reason}", f"{remedy} (docs/how_to/gpu_worker.md)")
            return
    yield HealthLine("GPU", "ok", f"{present}, torch for CUDA {torch_cuda()}")
