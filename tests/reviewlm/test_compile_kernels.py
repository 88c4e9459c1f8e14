"""The kernels that the installation compiles are those that the demo uses."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from reviewlm.compile_kernels import modules_with_kernels
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
def test_the_demo_compiles_no_kernel_that_the_installation_has_not(tmp_path: Path) -> None:
    environment = {**user_environment(tmp_path / "home"), "NUMBA_CACHE_DIR": str(tmp_path)}

    def run(module: str, *words: str) -> set[str]:
        """Return the names of the files of compiled code after a command."""
        subprocess.run(
            [sys.executable, "-m", module, *words],
            env=environment,
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        return {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("reviewlm/*/*.nbc")}

    installed = run("reviewlm.compile_kernels")
    assert installed
    assert run("reviewlm.cli", "demo", "--set", "source.synthetic.reviews=300") - installed == set()
