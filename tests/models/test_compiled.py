"""Compiled kernels are kept for other processes; a cache that fails costs time and is told, and no result is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

from reviewlm.models.compiled import kernel


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for compiled code."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def doubled() -> Any:
    """Return the kernel as another process has it: not compiled yet."""

    def double(number: float) -> float:
        return 2 * number

    return kernel(double)


def loads(found: Any) -> int:
    """Return how often a kernel was read from the disk instead of compiled."""
    return sum(found.stats.cache_hits.values())


USED = """
import numpy as np
from reviewlm.models.compiled import kernel

FACTOR, TABLE = 2, np.array([1.0, 2.0])

@kernel
def times(number):
    return FACTOR * number
"""
USER = """
from reviewlm.models.compiled import kernel
from shop.used import TABLE, times

@kernel
def price(number):
    return times(number) + TABLE[1]

print(price(10.0))
"""


@pytest.mark.parametrize(
    ("old", "new", "price"),
    [
        ("FACTOR * number", "FACTOR * number + 0.5", 22.5),
        ("FACTOR, TABLE = 2", "FACTOR, TABLE = 3", 32.0),
        ("[1.0, 2.0]", "[1.0, 4.0]", 24.0),
    ],
    ids=["a function", "a constant of a function", "a table"],
)
def test_a_change_in_a_file_from_which_a_kernel_takes_something_compiles_it_again(
    tmp_path: Path, old: str, new: str, price: float
) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "user.py").write_text(USER)

    def run() -> float:
        command = [sys.executable, "-B", "-c", "import shop.user"]
        path = f"{tmp_path}:{Path(__file__).parents[2]}"
        environment = {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "compiled")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return float(done.stdout)

    (package / "used.py").write_text(USED)
    assert run() == 22
    (package / "used.py").write_text(USED.replace(old, new))
    assert run() == price


@pytest.mark.usefixtures("folder")
def test_a_kernel_is_compiled_by_one_process_for_all() -> None:
    first, second = doubled(), doubled()
    assert (first(21), second(21)) == (42, 42)
    assert (loads(first), loads(second)) == (0, 1)


@pytest.mark.parametrize("torn", ["nbi", "nbc"], ids=["the index", "the code"])
@pytest.mark.parametrize("left", [b"", b"\0" * 99], ids=["empty", "zeros"])
def test_compiled_code_that_a_loss_of_power_has_torn_is_made_again(
    folder: Path, torn: str, left: bytes
) -> None:
    doubled()(21)
    [file] = folder.rglob(f"*.{torn}")
    file.write_bytes(left)
    again, then = doubled(), doubled()
    assert (again(21), then(21)) == (42, 42)
    assert (loads(again), loads(then)) == (0, 1)
