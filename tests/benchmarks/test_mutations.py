"""The table of deliberate errors: it cannot become stale, it leaves no formula out, and an error is really noticed."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import mutations as program
from benchmarks.mutations import ROOT, Copy, Mutation, mutations, proofs

ENTRIES = mutations()
FORMULAS = (
    "A2 A7 A8 A12 A14 B1 B2 B3 B5 B6 B7 B8 B9 B10 B11 B12 C1 C2 C3 C4 C5 C6 C7 C11 C12 C15 C16 C17 C18 C20 C21 C22 C23 "
    "C24 D1 D2 D3 D4 D5 D6 D7 D8 D9 D10 D11 D12 D13 D14 D15 D16 D17 D18 D19 D20 D21 D22 D23 D24 D25 "
    "X1 X5 X11 X21 X25 X26"
)
"""The rows of the course's list whose formulas are code of ours; others: docs/concepts/models/equations.md."""


def test_every_entry_names_code_that_stands_once_in_its_file():
    assert [one.name for one in ENTRIES if one.times_found() != 1] == []


@pytest.mark.long
def test_every_entry_names_a_test_that_exists():
    assert [one.name for one in ENTRIES if not one.test_exists()] == []


@pytest.mark.long
def test_every_error_changes_the_program_and_leaves_one_that_can_be_read():
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


def test_the_place_of_a_formula_is_the_function_or_the_constant_that_holds_it():
    places = {one.name: one.place() for one in ENTRIES}
    assert places["lstm keep"] == "models.neural.layers.cells.lstm_cell"
    assert places["adagrad root"] == "models.neural.optimization.optimizers.AdaGrad.delta"
    assert places["noise"] == "models.neural.output.sampled.NOISE_POWER"


def test_code_that_is_gone_or_there_twice_and_a_test_that_is_gone_are_told():
    one = ENTRIES[0]
    assert replace(one, code="no such code").times_found() == 0
    assert replace(one, code="return").times_found() > 1
    assert replace(one, file="models/gone.py").times_found() == 0
    assert not replace(one, test=one.test + "_of_before").test_exists()
    assert not replace(one, test="tests/gone.py::test_it").test_exists()


def test_a_name_that_is_there_twice_and_a_key_that_is_unknown_are_refused(tmp_path):
    keys = ("name", "row", "formula", "file", "code", "mutant", "change", "test")
    entry = "[[mutation]]\n" + "".join(f'{key} = "a"\n' for key in keys)
    table = tmp_path / "mutations.toml"
    table.write_text(entry * 2)
    with pytest.raises(ValueError, match="'a'"):
        mutations(table)
    table.write_text(entry + 'colour = "red"\n')
    with pytest.raises(TypeError, match="colour"):
        mutations(table)


class Answering(Copy):
    """A folder with one file, and tests that end with a given code."""

    def __init__(self, folder: Path, code: int | None) -> None:
        self.folder, self.code, self.seen = folder, code, ""
        (folder / "sum.py").write_text("total = a + b\n")

    def tests(self, nodes):
        self.seen = (self.folder / "sum.py").read_text()
        return self.code


SUM = Mutation("sum", "B1", "a + b", "sum.py", "a + b", "a - b", "minus for plus", "test_sum.py::test_sum")


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(0, "survived"), (1, "killed"), (2, "broken"), (5, "broken"), (-9, "broken"), (None, "broken")],
)
def test_only_a_test_that_ran_and_failed_has_killed_and_the_error_is_taken_back(code, outcome, tmp_path):
    copy = Answering(tmp_path, code)
    assert copy.outcome(SUM) == outcome
    assert copy.seen == "total = a - b\n"
    assert (tmp_path / "sum.py").read_text() == "total = a + b\n"


def test_code_that_is_not_there_exactly_once_is_stale_and_no_test_is_run(tmp_path):
    copy = Answering(tmp_path, 1)
    assert copy.outcome(replace(SUM, code="a * b")) == "stale"
    assert copy.outcome(replace(SUM, code="a")) == "stale"
    assert copy.seen == ""


@pytest.mark.parametrize(("outcome", "exit_code"), [("killed", 0), ("survived", 1), ("stale", 1), ("broken", 1)])
def test_the_exit_code_says_whether_all_were_killed(outcome, exit_code, monkeypatch, capsys):
    monkeypatch.setattr(program, "run", lambda chosen: {one.name: (outcome, 0.1) for one in chosen})
    assert program.main(["--only", "D18", "--json"]) == exit_code
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1])["measurements"]["momentum"]["outcome"] == outcome
    assert ("momentum (" in printed.err) == bool(exit_code)


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        program.main(["--only", "perpetual motion"])
    assert "perpetual motion" in capsys.readouterr().err


@pytest.mark.long
def test_a_wrong_discount_is_noticed_end_to_end():
    """Equation 26 of Chen and Goodman with j in place of j + 1, in a copy; the tree itself stays as it is."""
    (one,) = (entry for entry in ENTRIES if entry.name == "three discounts")
    before = (ROOT / one.file).read_bytes()
    command = [sys.executable, "-m", "benchmarks.mutations", "--only", one.name, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["measurements"][one.name]["outcome"] == "killed"
    assert found["ratios"]["mutations.killed"]["value"] == 1
    assert (ROOT / one.file).read_bytes() == before
