"""Record the code, the libraries and the machine of a result.

They are stored with every artifact but are part of no hash. Equal inputs give equal bytes only if all of these are
equal: numeric libraries choose their kernels by the processor's instructions and the number of threads, and the sum of
rounded numbers depends on their order.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from reviewlm.core.environment import available_cores

LIBRARIES = (
    "numba",
    "numpy",
    "orjson",
    "polars",
    "py3langid",
    "pyarrow",
    "safetensors",
    "scipy",
    "ray",
    "tokenizers",
    "torch",
)
"""Libraries that process a review on its way to a score."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS")
INSTRUCTIONS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512",
    "avx_vnni",
    "amx_",
    "asimd",
    "sve",
)
"""Prefixes of the processor flags by which numeric libraries choose their kernels."""
PACKAGE = Path(__file__).absolute().parent.parent
"""Folder of the package `reviewlm`. In a checkout, the rooms in it are links to the folders beside it."""
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else None
"""Folder of the project, if this code runs from it; None: it is installed from a wheel."""
CODE = (".py", ".html", ".css")
"""Suffixes of the files that results depend on."""


def made_with() -> dict[str, Any]:
    """Return code, libraries and machine of this process, as JSON values."""
    # Libraries without these variables go by the number of cores.
    threads = {name: os.environ[name] for name in THREADS if name in os.environ}
    return {
        "code": code_digest(),
        "libraries": dict(libraries()),
        "machine": {**machine(), "threads": threads},
    }


@cache
def libraries() -> Mapping[str, str]:
    """Return the version of Python and of every installed library of `LIBRARIES`."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


@cache
def machine(
    cpuinfo: Path = Path("/proc/cpuinfo"), gpus: Path = Path("/proc/driver/nvidia/gpus")
) -> Mapping[str, Any]:
    """Return system, processor, its instructions, the cores this process may use, and the machine's GPUs."""
    about = _fields(cpuinfo)
    flags = (about.get("flags") or about.get("Features") or "").split()
    models = [_fields(file).get("Model", "unknown") for file in gpus.glob("*/information")]
    facts: dict[str, Any] = {"system": platform.system(), "architecture": platform.machine()}
    facts["libc"] = " ".join(platform.libc_ver())
    facts["processor"] = about.get("model name") or platform.processor()
    facts["instructions"] = sorted(flag for flag in flags if flag.startswith(INSTRUCTIONS))
    facts["cores"] = available_cores()
    facts["gpus"] = sorted(models)
    return facts


def _fields(file: Path) -> dict[str, str]:
    """Return the `name: value` lines of the first paragraph of a file; an empty dict if it cannot be read."""
    try:
        paragraph = file.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in paragraph.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


@cache
def code_digest(package: Path = PACKAGE) -> str:
    """Return the SHA-256 of names and bytes of all modules and templates; a commit hash misses later changes.

    An installed package has the digest of the checkout that it was built from.
    """
    rooms = [folder for folder in package.iterdir() if folder.is_symlink() and folder.is_dir()]
    files = [path for folder in (package, *rooms) for path in folder.rglob("*")]
    return digest_of(package, (path for path in files if path.suffix in CODE))


def digest_of(folder: Path, files: Iterable[Path]) -> str:
    """Return the SHA-256 of the bytes of files and of their names below a folder."""
    content = hashlib.sha256()
    for path in sorted(files):
        content.update(
            f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0"
        )
    return content.hexdigest()


@cache
def git_commit() -> str:
    """Return the git commit of the running code, or "" outside a checkout.

    A virtual environment may lie in a repository of the user's, whose commit says nothing about this code.
    """
    if CHECKOUT is None or not (CHECKOUT / ".git").exists():
        return ""

    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return how two platforms differ, one sentence per difference. The code is not compared.

    Args:
        then: As recorded. Without libraries or machine the comparison is impossible, which counts as a difference.
        now: `made_with` of this process, or another record.
    """
    if not then.get("machine") or not then.get("libraries"):
        return ["the platform was not recorded"]

    lines = []
    for section in ("libraries", "machine"):
        before = then[section]
        after = now.get(section, {})
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                lines.append(
                    f"{name}: {_short(before.get(name))} then, {_short(after.get(name))} now"
                )

    return lines


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={inner}" for name, inner in value.items()) or "none"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if value is None:
        return "none"
    return str(value)
