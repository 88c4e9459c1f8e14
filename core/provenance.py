"""What a result was made with: the code, the libraries and the machine. Recorded beside every artifact, hashed in none.

Equal inputs give equal bytes only where all of these are equal: numeric libraries choose their kernels by the
instructions of the processor and by the number of threads, and sums of rounded numbers depend on their order.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from core.environment import ROOMS, available_cores

LIBRARIES = (
    "numba", "numpy", "orjson", "polars", "prefect-dask", "py3langid", "pyarrow", "rensa", "safetensors", "scipy",
    "tokenizers", "torch",
)
"""Those through which a review passes on its way to a score."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS")
INSTRUCTIONS = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512", "avx_vnni", "amx_", "asimd", "sve")
"""Prefixes of the processor's flags by which numeric libraries choose their kernels."""
SOURCE = Path(__file__).resolve().parent.parent


def made_with() -> dict[str, Any]:
    """Return code, libraries and machine of this process, as JSON values."""
    return {"code": code_digest(), "libraries": dict(libraries()), "machine": {**machine(), "threads": threads_set()}}


@cache
def libraries() -> Mapping[str, str]:
    """Return the version of Python and of every library of `LIBRARIES` that is installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def machine(cpuinfo: Path = Path("/proc/cpuinfo"), gpus: Path = Path("/proc/driver/nvidia/gpus")) -> Mapping[str, Any]:
    """Return system, processor, its instructions, the cores this process may use, and the GPUs of this machine."""
    about = _fields(cpuinfo)
    flags = (about.get("flags") or about.get("Features") or "").split()
    return {
        "system": platform.system(), "architecture": platform.machine(), "libc": " ".join(platform.libc_ver()),
        "processor": about.get("model name") or platform.processor(),
        "instructions": sorted(flag for flag in flags if flag.startswith(INSTRUCTIONS)),
        "cores": available_cores(),
        "gpus": sorted(_fields(file).get("Model", "unknown") for file in gpus.glob("*/information")),
    }


def _fields(file: Path) -> dict[str, str]:
    """Return the `name: value` lines of the first paragraph of a file; none where it cannot be read."""
    try:
        paragraph = file.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in paragraph.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def threads_set() -> dict[str, str]:
    """Return the environment's limits of threads; what is not set the libraries choose by the number of cores."""
    return {name: os.environ[name] for name in THREADS if name in os.environ}


@cache
def code_digest(source: Path = SOURCE) -> str:
    """Return the SHA-256 of all Python files of the project, names and bytes: a commit knows of no later change."""
    content = hashlib.sha256()
    files = [path for room in ROOMS for path in (source / room).rglob("*.py")]
    for path in sorted(files):
        content.update(f"{path.relative_to(source).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return content.hexdigest()


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return, a sentence each, how two platforms differ: what `made_with` gives, but for the code.

    Args:
        then: As recorded; without it nothing can be said, which is a difference too.
        now: Of this process, or as recorded elsewhere.
    """
    if not then.get("machine") or not then.get("libraries"):
        return ["the platform was not recorded"]
    found = []
    for section in ("libraries", "machine"):
        before, after = then[section], now.get(section, {})
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                found.append(f"{name}: {_short(before.get(name))} then, {_short(after.get(name))} now")
    return found


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={inner}" for name, inner in value.items()) or "none"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
