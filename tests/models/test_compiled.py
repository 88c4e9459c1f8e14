"""Compiled kernels are kept for other processes; a cache that fails costs time and is told, and no result is lost."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

from reviewlm.models import compiled
from reviewlm.models.compiled import kernel
from tests.programs import FOLDER


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


@pytest.mark.parametrize(
    ("old", "new", "price"),
    [
        ("FACTOR * number", "FACTOR * number + 0.5", 22.5),
        ("FACTOR = 2", "FACTOR = 3", 32.0),
        ("[1.0, 2.0]", "[1.0, 4.0]", 24.0),
    ],
    ids=["a function", "a constant of a function", "a table"],
)
def test_a_change_in_a_file_from_which_a_kernel_takes_something_compiles_it_again(
    tmp_path: Path,
    old: str,
    new: str,
    price: float,
) -> None:
    package = shutil.copytree(FOLDER / "shop", tmp_path / "shop")
    used = package / "used.py"

    def run() -> float:
        command = [sys.executable, "-B", "-c", "import shop.user"]
        path = f"{tmp_path}:{Path(__file__).parents[2]}"
        environment = {"PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "compiled")}
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return float(done.stdout)

    assert run() == 22
    used.write_text(used.read_text().replace(old, new))
    assert run() == price


def copy_of_the_package(
    folder: Path,
    name: str,
    module: str = "kernels",
) -> list[str]:
    """Make a package that has a copy of this module and kernels; return the command that imports a module of it."""
    package = shutil.copytree(FOLDER / "vendored", folder / name)
    shutil.copyfile(compiled.__file__, package / "compiled.py")
    return [sys.executable, "-B", "-c", f"import {name}.{module}"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a process needs to find the copies and the compiled code."""
    return {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "code")}


def test_a_copy_of_the_package_takes_the_code_that_another_has_compiled(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Every registered model has such a copy, and its process cannot import the package that compiled the code."""
    answers = []
    for name in ("first", "second"):
        command = copy_of_the_package(tmp_path, name)
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(done.stdout.split())
        (tmp_path / name).rename(tmp_path / f"{name} is gone")
    assert answers == [["21.0", "1"], ["21.0", "0"]]


def test_code_from_the_disk_runs_without_the_libraries_that_compile_it(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    command = copy_of_the_package(tmp_path, "shop", "allocating")
    answers = []
    for _ in range(2):
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(done.stdout.split())
    assert answers == [["6.0", "True"], ["6.0", "False"]]


def test_processes_that_need_a_kernel_at_once_compile_it_once(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    command = copy_of_the_package(tmp_path, "shop")
    processes = [
        subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [process.communicate()[0].split() for process in processes]
    assert sorted(answers) == [["21.0", "0"], ["21.0", "1"]]


@pytest.mark.usefixtures("folder")
def test_code_of_a_former_content_goes_when_it_was_not_used_for_long(folder: Path) -> None:
    doubled()(21)
    [used] = (folder / "reviewlm").iterdir()
    former = used.with_name(f"{used.name[:-1]}{'0' if used.name[-1] != '0' else '1'}")
    recent = used.with_name(f"{used.name[:-2]}zz")
    for other in (former, recent):
        other.mkdir()
    os.utime(former, (0, 0))
    doubled()(21)
    assert {path.name for path in used.parent.iterdir()} == {used.name, recent.name}


@pytest.mark.usefixtures("folder")
def test_a_kernel_is_compiled_by_one_process_for_all() -> None:
    first, second = doubled(), doubled()
    assert (first(21), second(21)) == (42, 42)
    assert (loads(first), loads(second)) == (0, 1)


@pytest.mark.usefixtures("folder")
def test_a_process_says_once_that_it_compiles(caplog: pytest.LogCaptureFixture) -> None:
    compiled._tell_compiling.cache_clear()
    caplog.set_level(logging.INFO, compiled.__name__)

    first, again = doubled(), doubled()
    first(21)
    first(21.0)
    assert [record.levelname for record in caplog.records] == ["INFO"]

    compiled._tell_compiling.cache_clear()
    again(21)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("torn", ["nbi", "nbc"], ids=["the index", "the code"])
@pytest.mark.parametrize("left", [b"", b"\0" * 99], ids=["empty", "zeros"])
def test_compiled_code_that_a_loss_of_power_has_torn_is_made_again(
    folder: Path,
    torn: str,
    left: bytes,
) -> None:
    doubled()(21)
    [file] = folder.rglob(f"*.{torn}")
    file.write_bytes(left)
    again, then = doubled(), doubled()
    assert (again(21), then(21)) == (42, 42)
    assert (loads(again), loads(then)) == (0, 1)
