"""`docs/reference/stages.md` has every stage, says which ones continue, and names every task that is tried again."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from core.config.sections.execution import Stage
from tasks.code_version import running_code
from tasks.promotion.promote import ATTEMPTS
from tasks.stage import RETRY_DELAYS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "stages.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w-]+)` " + r"\| (.+?) " * 4 + r"\|$", re.MULTILINE)
ROWS = {row[0]: row[1:] for row in ROW.findall(PAGE)}
NUMBERS = {5: "five"}


def trees() -> Iterator[ast.Module]:
    for file in sorted((ROOT / "tasks").rglob("*.py")):
        yield ast.parse(file.read_text(encoding="utf-8"))


def calls(tree: ast.Module, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def named(node: ast.expr, tree: ast.Module) -> str:
    """Return the string that an argument is, or the constant of its module that it names."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    constants = {ast.unparse(one.targets[0]).strip("()"): one.value for one in tree.body if isinstance(one, ast.Assign)}
    for names, value in constants.items():
        if ast.unparse(node) in (each := names.split(", ")):
            values = value.elts if isinstance(value, ast.Tuple) else [value]
            return str(ast.literal_eval(values[each.index(ast.unparse(node))]))
    raise AssertionError(f"{ast.unparse(node)} is no constant of its module")


def resumable_stages() -> set[str]:
    found = set()
    for tree in trees():
        for call in calls(tree, "run_stage"):
            if any(keyword.arg == "resumable" for keyword in call.keywords):
                fits = ast.unparse(call.args[1]) == "plan.stage"
                found |= {"fit", "fit-classifier"} if fits else {named(call.args[1], tree)}
    return found


def retried_tasks() -> set[str]:
    return {
        named(call.args[0], tree)
        for tree in trees() for call in calls(tree, "stage")
        if any(keyword.arg == "retry_if" for keyword in call.keywords)
    }  # fmt: skip


def test_the_page_has_every_stage_once() -> None:
    assert ROWS.keys() == running_code().makers().keys()
    assert len(re.findall(r"^\| `", PAGE, re.MULTILINE)) == len(ROWS)


def test_each_stage_of_the_page_can_be_built_again() -> None:
    assert set(get_args(Stage)) == ROWS.keys()


@pytest.mark.slow
def test_the_page_says_which_stages_continue_an_interrupted_build() -> None:
    assert len(resumable_stages()) >= 5
    assert {stage for stage, (*_, continues) in ROWS.items() if continues.startswith("yes")} == resumable_stages()


def test_the_page_names_every_task_that_is_tried_again_and_when() -> None:
    listed = PAGE.partition("These tasks are tried again:")[2]
    assert set(re.findall(r"`([^`]+)`", listed)) == retried_tasks()
    assert len(retried_tasks()) > 8
    first, second = RETRY_DELAYS
    assert f"after {first:.0f} and after {second:.0f} seconds" in PAGE
    assert f"{NUMBERS[ATTEMPTS]} times at most" in PAGE
