"""Check Python, packages, memory, disks and GPU of this machine."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from core.environment import visible_gpus
from core.processes.gpus import present_gpus, torch_cuda
from core.processes.leftovers import lasting_folder
from reviewlm.doctor.health_line import HealthLine, State
from reviewlm.layout import size

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

DISTRIBUTION = "reviewlm"
HOME_BYTES = (200e6, 2e9)
"""Free space of the home folder below which commands fail (the demo writes 141 MB), and are likely to fail."""
TEMPORARY_BYTES = (50e6, 500e6)
MEMORY_BYTES = (500e6, 2e9)
"""Memory below which importing the frameworks alone fails, and below which training is likely to fail."""
DRIVERS = {11: 450, 12: 525, 13: 580}
"""By major version of CUDA, the oldest driver that runs programs of all its minor versions."""
INSTALL = "pip install -c constraints.txt -e . (make install)"


def check_python(config: RunConfig) -> Iterator[HealthLine]:
    """Compare the version of Python with the one that the project needs."""
    from packaging.specifiers import SpecifierSet

    installed, required = platform.python_version(), _declared("Requires-Python", ">=3.11")
    if SpecifierSet(required).contains(installed, prereleases=True):
        yield HealthLine("Python", "ok", f"{installed} ({sys.executable})")
    else:
        yield HealthLine("Python", "problem", f"{installed}, needed {required}", "make a new .venv with that Python")


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
        yield HealthLine("packages", "ok", f"{number} packages have the declared versions")
    for needed in (True, False):
        if names := sorted({text for required, text in wrong if required == needed}):
            state: State = "problem" if needed else "warning"
            of = "" if needed else "of optional features: "
            yield HealthLine("packages", state, of + "; ".join(names), INSTALL)


def _declared(field: str, default: str) -> str:
    try:
        return str(metadata(DISTRIBUTION)[field] or default)
    except PackageNotFoundError:
        return default


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


def check_gpu(config: RunConfig) -> Iterator[HealthLine]:
    """Say whether a GPU is used, and if not, why."""
    yield gpu_line(config.execution.device, Path("/dev"), Path("/proc/driver/nvidia/version"), torch_cuda())


def gpu_line(device: str, devices: Path, driver_file: Path, cuda: str) -> HealthLine:
    """Return the result for a GPU.

    Args:
        device: "auto", "cpu" or "cuda": `execution.device`.
        devices: Folder of device files.
        driver_file: File in which the driver names its version.
        cuda: Version of CUDA that the installed torch was built for, "" for a build without GPUs.
    """
    present = present_gpus(devices)
    if device == "cpu" or not present:
        needed = device == "cuda"
        result = "no GPU found" if needed else "none, the processor is used"
        return HealthLine("GPU", "problem" if needed else "ok", result, "set execution.device=auto" if needed else "")
    lacking: State = "problem" if device == "cuda" else "warning"
    if not cuda:
        return HealthLine("GPU", lacking, "there is one, but torch is a build for processors only",
                          "install the torch build for your CUDA driver (docs/how_to/gpu_worker.md)")  # fmt: skip
    if not visible_gpus(devices):
        return HealthLine("GPU", lacking, "hidden by CUDA_VISIBLE_DEVICES", "unset it")
    try:
        driver = re.search(r"Module\D*(\d+)\.", driver_file.read_text(encoding="utf-8"))
    except OSError:
        driver = None
    if driver is None or not (devices / "nvidiactl").exists():
        return HealthLine("GPU", lacking, "there is one, but its driver does not run", "load or install the driver")
    oldest = DRIVERS.get(int(cuda.split(".")[0]), 0)
    if int(driver[1]) < oldest:
        return HealthLine("GPU", lacking, f"driver {driver[1]}, but torch (CUDA {cuda}) needs {oldest} or newer",
                          "update the driver, or install torch for an older CUDA")  # fmt: skip
    return HealthLine("GPU", "ok", f"{present} with driver {driver[1]}, torch for CUDA {cuda}")
