"""The home folder is its owner's, also one that was made by an earlier version, and also with umask 000."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.environment import OURS, prepare_environment, restrict
from core.services.service_list import FILE as PORTS
from core.services.service_list import STATE


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


def open_home(home: Path) -> Path:
    """A home folder as an earlier version made it, readable and writable by everyone."""
    for name in ("store/ingest/0a1b", "prefect", "logs", "mlartifacts/1"):
        (home / name).mkdir(parents=True)
    files = ("mlflow.db", "services.json", "store/ingest/0a1b/quarantine.parquet", "prefect/prefect.db", "logs/a.log")
    for name in files:
        (home / name).write_text("x")
    for path in (home, *home.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return home


def test_a_home_that_was_open_to_all_is_the_owners_after_a_start(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    prepare_environment(home)
    assert set(modes(home).values()) == {"0o700", "0o600"}
    assert {name for name, mode in modes(home).items() if mode == "0o600"} == {
        "mlflow.db", "services.json", "store/ingest/0a1b/quarantine.parquet", "prefect/prefect.db", "logs/a.log",
    }  # fmt: skip


def test_what_is_made_afterwards_is_the_owners_also_by_child_processes(tmp_path: Path) -> None:
    prepare_environment(tmp_path / "home")
    (tmp_path / "home" / "new").mkdir()
    (tmp_path / "home" / "new" / "file").write_text("x")
    subprocess.run([sys.executable, "-c", "import sys; open(sys.argv[1], 'w').close()", tmp_path / "home" / "child"])
    assert modes(tmp_path / "home") == {
        ".": "0o700", "prefect": "0o700", "new": "0o700", "new/file": "0o600", "child": "0o600",
    }  # fmt: skip


def test_sticky_folders_and_links_are_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o666)
    home = open_home(tmp_path / "home")
    (home / "store" / "link").symlink_to(outside)
    (home / "reports").symlink_to(tmp_path)
    home.chmod(0o1777)
    before = mode(tmp_path)
    restrict(home)
    assert mode(home) == "0o1777"
    assert mode(outside) == "0o666"
    assert mode(tmp_path) == before


def test_every_entry_that_the_code_names_in_a_home_is_known() -> None:
    """A name that is missing in OURS would let a whole home keep its permissions."""
    rooms = [Path(__file__).parents[3] / room for room in ("reviewlm", "tasks", "tracking", "flows", "corpus")]
    sources = [path for room in rooms for path in room.rglob("*.py")]
    found = {name for path in sources for name in re.findall(r'\bhome / "([^"/]+)"', path.read_text(encoding="utf-8"))}
    assert {"store", "mlartifacts"} <= found
    assert found | {PORTS, STATE} <= OURS
