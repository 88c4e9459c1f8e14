"""What the installation puts into the user's cache is what the demo would make."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.empty_databases import CACHE_VARIABLE
from reviewlm.fill_cache import modules_with_kernels
from reviewlm.models.compiled import KERNELS, argument_types
from tests.flows.first_run import user_environment


def kernels_with_calls() -> list[Any]:
    for name in modules_with_kernels():
        import_module(name)
    return [kernel for kernel in KERNELS if kernel.calls]


def test_modules_with_kernels_are_found_in_several_rooms() -> None:
    rooms = {name.split(".")[1] for name in modules_with_kernels()}
    assert rooms == {"corpus", "data_checks", "models", "training"}


def test_each_call_of_a_kernel_has_a_type_for_each_argument() -> None:
    wrong = []
    for kernel in kernels_with_calls():
        arguments = len(signature(kernel.py_func).parameters)
        wrong += [call for call in kernel.calls if len(argument_types(call)) != arguments]
    assert wrong == []


def test_an_array_that_nobody_may_write_is_told_from_another() -> None:
    [read_only, plain, number] = argument_types("const uint8[::1], uint8[::1], int64")
    assert (read_only.mutable, plain.mutable) == (False, True)
    assert str(number) == "int64"


@pytest.mark.slow
def test_the_demo_finds_all_that_it_needs_in_the_cache_of_the_installation(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    environment = {
        **user_environment(tmp_path / "home"),
        "NUMBA_CACHE_DIR": str(cache),
        CACHE_VARIABLE: str(cache),
    }

    def run(module: str, *words: str) -> dict[str, int]:
        """Return when each compiled kernel, and each empty database, was written, after a command."""
        subprocess.run(
            [sys.executable, "-m", module, *words],
            env=environment,
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        files = [*cache.rglob("*.nbc"), *cache.rglob("*.db")]
        return {str(file.relative_to(cache)): file.stat().st_mtime_ns for file in files}

    installed = run("reviewlm.fill_cache")
    assert {Path(name).suffix for name in installed} == {".nbc", ".db"}
    assert run("reviewlm.cli", "demo", "--set", "source.synthetic.reviews=300") == installed
