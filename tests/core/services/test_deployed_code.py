"""The copy of the code that deployments are made with: what it holds, who uses it, how damage is found, what goes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config.presets import preset_names
from core.errors import Damaged
from core.provenance import DEPLOYED_RECORD, code_digest, git_commit
from core.services import deployed_code
from core.services.deployed_code import (
    FOLDER,
    enter_working_folder,
    keep_code,
    problem_of,
    use_deployed_code,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a module that was imported and is being edited, and a preset."""
    folder = tmp_path / "project"
    for name in ("models/text.py", "models/.text.py.swp", "models/__pycache__/text.cpython-311.pyc",
                 "models/__pycache__/text.lower-3.py311.nbi", "config/small.toml", "tests/test_text.py"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_processes_with_the_copy_on_their_path_and_their_children_use_nothing_of_the_project(tmp_path: Path) -> None:
    """They know digest, commit and presets of the project as it was."""
    copy = keep_code(tmp_path / "home")
    program = (
        "import sys; from core.config.presets import preset_names; from core.processes.children import run_child\n"
        "from core.provenance import code_digest, git_commit\n"
        "print(code_digest(), git_commit(), *preset_names())\n"
        "print(run_child(['-m', 'timeit', '-n1', '-r1', 'import reviewlm; print(reviewlm.__file__)'], 60).stdout)\n"
        "print(*{module.__file__ for module in sys.modules.values() if getattr(module, '__file__', None)})\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    first, child, *rest = done.stdout.splitlines()
    assert first.split() == [code_digest(), *([git_commit()] if git_commit() else []), *preset_names()]
    assert child == str(copy / "reviewlm" / "__init__.py")
    assert f"{copy}/" in rest[-1]
    assert not [file for file in rest[-1].split() if Path(file).parent.is_relative_to(ROOT / "core")]


def rewrite(file: Path) -> None:
    file.chmod(0o644)
    file.write_text("{}")


@pytest.mark.parametrize(("name", "damage"), [
    ("models/text.py", Path.unlink), ("models/text.py", rewrite), ("models/json.py", Path.touch),
    (DEPLOYED_RECORD, rewrite), (DEPLOYED_RECORD, Path.unlink),
], ids=["gone", "changed", "added", "record changed", "record gone"])  # fmt: skip
def test_damage_is_found_and_mended_by_the_next_deployment(
    name: str, damage: Callable[[Path], object], home: Path, project: Path
) -> None:
    copy = keep_code(home, project)
    whole = names(copy)
    assert problem_of(copy) == ""
    damage(copy / name)
    assert name in problem_of(copy)
    with pytest.raises(Damaged, match="deploy again"):
        use_deployed_code(str(project), copy.name)
    assert keep_code(home, project) == copy
    assert problem_of(copy) == ""
    assert names(copy) == whole
    assert [folder.name for folder in (home / FOLDER).iterdir()] == [copy.name]


def test_a_run_imports_from_the_copy_and_works_in_the_project(
    home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = keep_code(home, project)
    monkeypatch.chdir(home)
    monkeypatch.setenv(deployed_code.PLACE_VARIABLE, "")
    assert use_deployed_code(str(project), copy.name) == {"directory": str(copy)}
    enter_working_folder()
    assert Path.cwd() == project
    monkeypatch.chdir(home)
    enter_working_folder()
    assert Path.cwd() == home  # what the run starts stays where it was started


def answering(named: list[str] | None) -> Callable[..., list[dict[str, Any]]]:
    """Answer like a server whose deployments use these copies; None: like one that is away."""
    def answer(*asked: object) -> list[dict[str, Any]]:
        if named is None:
            raise ConnectionRefusedError
        return [{"pull_steps": [{"step": {"code": code}}]} for code in named] + [{"pull_steps": None}]

    return answer
