"""Check what `make install` leaves for commands that may write no compiled modules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OF_DEVELOPERS = {"benchmarks", "tests"}
"""Packages that no command imports."""


def own_packages() -> list[str]:
    return sorted(
        file.parent.name
        for file in ROOT.glob("*/__init__.py")
        if file.parent.name not in OF_DEVELOPERS
    )


def test_modules_of_each_room_are_compiled_where_python_keeps_none(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()

    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (tmp_path / ".venv" / ".ready").touch()
    modules = [tmp_path / name / "inner" / "module.py" for name in own_packages()]
    for module in modules:
        module.parent.mkdir(parents=True)
        module.write_text("ANSWER = 42\n")

    subprocess.run(
        ["make", "-s", "install"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )

    assert modules
    assert [module for module in modules if not Path(cache_from_source(str(module))).exists()] == []


@pytest.mark.parametrize(
    ("pip_works", "uv_works", "ready", "by_pip"),
    [
        (True, True, True, ["torch uv"]),
        (True, False, True, ["torch uv", "-e ."]),
        (False, False, False, ["torch uv"]),
    ],
)
def test_pip_installs_where_uv_fails(
    tmp_path: Path,
    pip_works: bool,
    uv_works: bool,
    ready: bool,
    by_pip: list[str],
) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()

    calls = tmp_path / "calls"
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    works = {"python": pip_works, "uv": uv_works}
    for name, success in works.items():
        program = programs / name
        program.write_text(
            "#!/bin/sh\n"
            f'case "$*" in *" install "*) echo "{name} $*" >> {calls}; exit {int(not success)};;\n'
            f"*reviewlm.fill_cache) echo fill_cache >> {calls}; exit 1;; esac\n"
        )
        program.chmod(0o755)

    made = subprocess.run(
        ["make", "-s", f"PYTHON={sys.executable}", ".venv/.ready"], cwd=tmp_path, check=False
    )

    assert (made.returncode == 0) == ready
    assert (tmp_path / ".venv" / ".ready").exists() == ready
    asked = calls.read_text().splitlines()
    assert asked.count("fill_cache") == ready  # it failed, which is no error: commands do it later
    ends = [call.rsplit("constraints.txt ")[-1] for call in asked if call.startswith("python ")]
    assert [end.removeprefix("--no-deps ") for end in ends] == by_pip
