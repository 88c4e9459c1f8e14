"""Check what `make install` leaves for commands that may write no compiled modules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

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
