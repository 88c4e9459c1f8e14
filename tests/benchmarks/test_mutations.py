"""The table of deliberate errors: it cannot become stale, it leaves no formula out, and an error is really noticed."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import pytest

from benchmarks.mutations import ROOT, mutations, proofs

ENTRIES = mutations()
FORMULAS = (
    "A2 A7 A8 A12 A14 B1 B2 B3 B5 B6 B7 B8 B9 B10 B11 B12 C1 C2 C3 C4 C5 C6 C7 C11 C12 C15 C16 C17 C18 C20 C21 C22 C23 "
    "C24 D1 D2 D3 D4 D5 D6 D7 D8 D9 D10 D11 D12 D13 D14 D15 D16 D17 D18 D19 D20 D21 D22 D23 D24 D25 "
    "X1 X5 X11 X19 X21 X25 X26"
)
"""The rows of the course's list whose formulas are code of ours; others: docs/concepts/models/equations.md."""


def test_every_entry_names_code_that_stands_once_in_its_file():
    assert [one.name for one in ENTRIES if one.times_found() != 1] == []


@pytest.mark.long
def test_every_entry_names_a_test_that_exists():
    assert [one.name for one in ENTRIES if not one.test_exists()] == []


@pytest.mark.long
def test_every_error_leaves_another_program_that_can_be_read():
    """Compared without layout: an error that is none but in spaces would survive for good reason."""
    for one in ENTRIES:
        right = (ROOT / one.file).read_text(encoding="utf-8")
        wrong = right.replace(one.code, one.mutant)
        assert ast.dump(ast.parse(wrong)) != ast.dump(ast.parse(right)), one.name


def test_no_row_with_a_formula_is_without_an_error():
    assert {one.row for one in ENTRIES} == {*FORMULAS.split()}


def test_the_page_shows_the_table_as_it_is():
    page = (ROOT / "docs" / "concepts" / "models" / "equations.md").read_text(encoding="utf-8")
    assert proofs(ENTRIES) in page, "put in what `python -m benchmarks.mutations --table` prints"


@pytest.mark.long
def test_a_wrong_discount_is_noticed_end_to_end():
    """Equation 26 of Chen and Goodman with j in place of j + 1, in a copy; the tree itself stays as it is."""
    (one,) = (entry for entry in ENTRIES if entry.name == "three discounts")
    before = (ROOT / one.file).read_bytes()
    command = [sys.executable, "-m", "benchmarks.mutations", "--only", one.name, "--json"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["measurements"][one.name]["outcome"] == "killed"
    assert found["ratios"]["mutations.killed"]["value"] == 1
    assert (ROOT / one.file).read_bytes() == before
