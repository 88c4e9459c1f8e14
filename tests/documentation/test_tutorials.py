"""The tutorials are notebooks, executed from top to bottom; `make test-slow` executes them again."""

from __future__ import annotations

import ast
import json
import re
import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
ONLY_COUNTED = {"01_data", "02_ngrams"}
"""Notebooks without a trained network: their output is the same on every machine."""
LARGEST = 300_000
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [
        cell
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == kind
    ]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def shown(cell: dict[str, Any]) -> str:
    """Return what a cell printed and the text form of what it displayed, without pictures."""
    texts = [
        output.get("text") or output["data"].get("text/plain", "") for output in cell["outputs"]
    ]
    return "\n".join("".join(text) for text in texts)


def defined(module: str) -> set[str]:
    """Return the names that a module of the project defines or imports, without running it."""
    spec = find_spec(module)
    assert spec is not None, f"there is no module {module}"
    assert spec.origin is not None, f"{module} has no file"
    file = Path(spec.origin)
    names = {path.stem for path in file.parent.iterdir()} if file.name == "__init__.py" else set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_there_is_a_tutorial_for_each_stage_of_the_course() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "01_data",
        "02_ngrams",
        "03_rnn_by_hand",
        "04_lstm",
        "05_evaluation",
        "06_pipeline",
    ]


@each
def test_it_was_executed_from_top_to_bottom_without_an_error(path: Path) -> None:
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]


@each
def test_its_output_is_small(path: Path) -> None:
    assert path.stat().st_size < LARGEST


@each
def test_its_output_names_no_place_of_the_machine_that_made_it(path: Path) -> None:
    outputs = [shown(cell) for cell in cells(path, "code")]
    assert [text for text in outputs if "/tmp" in text or str(Path.home()) in text] == []


@each
def test_each_cell_imports_only_what_exists(path: Path) -> None:
    for cell in cells(path, "code"):
        for node in ast.walk(ast.parse(source(cell))):
            if isinstance(node, ast.Import):
                assert all(find_spec(alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                module = str(node.module)
                if (ROOT / module.split(".")[0]).is_dir():
                    assert {alias.name for alias in node.names} <= defined(module), source(cell)
                else:
                    assert find_spec(module)


@each
def test_it_has_exercises_with_folded_answers(path: Path) -> None:
    text = "\n".join(map(source, cells(path, "markdown")))
    exercises = text.count("**Exercise ")
    assert exercises == text.count("<details><summary>Answer</summary>") > 0
    assert exercises == text.count("</details>")


@each
def test_it_leads_to_the_code(path: Path) -> None:
    text = "\n".join(map(source, cells(path, "markdown")))
    assert "## Where the real thing is" in text


@each
def test_its_links_lead_to_files_that_exist(path: Path) -> None:
    text = "\n".join(map(source, cells(path, "markdown")))
    links = {link for link in re.findall(r"\]\(([^)#\s]+)", text) if not link.startswith("http")}
    built = {"../reference/cli.md", "../reference/settings.md"}
    assert not [link for link in sorted(links - built) if not (path.parent / link).exists()]


@each
def test_it_ends_with_a_picture(path: Path) -> None:
    assert any(
        "image/png" in output.get("data", {}) for output in cells(path, "code")[-1]["outputs"]
    )


@pytest.mark.slow
@each
def test_it_can_be_executed_again(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("nbclient", reason="the extra 'docs' is not installed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    again = runpy.run_path(str(ROOT / "docs" / "tutorials" / "execute.py"))["executed"](path)
    if path.stem in ONLY_COUNTED:
        code = [cell for cell in again["cells"] if cell["cell_type"] == "code"]
        assert list(map(shown, code)) == list(map(shown, cells(path, "code")))
