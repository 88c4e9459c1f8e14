"""The home folder is its owner's, also with umask 000."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.environment import prepare_environment


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """The most careless umask; the process gets its own back."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.lstat().st_mode))


def modes(home: Path) -> dict[str, str]:
    return {path.relative_to(home).as_posix(): mode(path) for path in [home, *home.rglob("*")]}


def test_what_is_made_afterwards_is_the_owners_also_by_child_processes(tmp_path: Path) -> None:
    prepare_environment(tmp_path / "home")
    (tmp_path / "home" / "new").mkdir()
    (tmp_path / "home" / "new" / "file").write_text("x")
    subprocess.run([sys.executable, "-c", "import sys; open(sys.argv[1], 'w').close()", tmp_path / "home" / "child"])
    assert modes(tmp_path / "home") == {
        ".": "0o700", "prefect": "0o700", "new": "0o700", "new/file": "0o600", "child": "0o600",
    }  # fmt: skip
