"""Find the GPUs that a process may use, without importing torch, which takes a second."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
NAME = re.compile(r"\d+|GPU-[0-9A-Fa-f-]+|MIG-\S+")
"""A GPU in that variable: its index, the beginning of its UUID, or a part of one (MIG)."""


def present_gpus(devices: Path) -> int:
    """Return the number of GPUs that have a device file in a folder."""
    return len([path for path in devices.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])


def visible_gpu_names(devices: Path = Path("/dev")) -> list[str]:
    """Return the GPUs that CUDA shows to a process, by the names that they have in CUDA_VISIBLE_DEVICES.

    CUDA reads the variable up to the first name that it does not know. So "-1" and "NoDevFiles" hide all GPUs, and
    "0,-1,1" all but the first.

    Args:
        devices: Folder in which the system keeps device files.
    """
    present = present_gpus(devices)
    if (named := os.environ.get(VISIBLE)) is None:
        return [str(index) for index in range(present)]
    names: list[str] = []
    for name in map(str.strip, named.split(",")):
        if not NAME.fullmatch(name) or (present and name.isdigit() and int(name) >= present):
            break
        names.append(name)
    return list(dict.fromkeys(names))


def usable_together(names: Sequence[str]) -> int:
    """Return how many of these GPUs one process, or the processes of one fit, can use.

    CUDA shows a process one part of a GPU (MIG) only, and NCCL does not connect parts.
    """
    parts = [index for index, name in enumerate(names) if name.startswith("MIG-")]
    return max(1, parts[0]) if parts else len(names)


def torch_cuda() -> str:
    """Return the version of CUDA that torch was built for, "" for none."""
    spec = find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if file is None or not file.is_file():
        return ""
    match = re.search(r"^cuda\b.*=\s*'([\d.]+)'", file.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else ""


@cache
def driver_problem() -> str:
    """Return why the driver gives torch no GPU, "" if it gives one. The driver is asked once per process."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"its driver cannot be loaded: {error}"
    return problem_of(driver, torch_cuda())


def problem_of(driver: ctypes.CDLL, cuda: str) -> str:
    """Return why a loaded driver gives torch no GPU, "" if it gives one.

    Args:
        driver: libcuda.
        cuda: Version of CUDA that torch was built for.
    """
    count, newest = ctypes.c_int(0), ctypes.c_int(0)
    if code := driver.cuInit(0):
        return f"its driver does not start (CUDA error {code})"
    if (code := driver.cuDeviceGetCount(ctypes.byref(count))) or not count.value:
        return f"its driver shows none (CUDA error {code})"
    driver.cuDriverGetVersion(ctypes.byref(newest))
    if cuda and newest.value // 1000 < int(cuda.split(".")[0]):
        return f"its driver is for CUDA {newest.value // 1000}, torch for CUDA {cuda}"
    return ""
