"""Check that a test fails when a formula of the course is wrong, one error at a time.

The table is in `docs/concepts/models/equations.md`.

    python -m benchmarks.mutations --list
    python -m benchmarks.mutations --only "lstm keep" --only C12
    python -m benchmarks.mutations --write

The packages are copied into a temporary folder, where the named tests must pass without changes. Then each error of
`mutations.toml` is made there, one at a time. Its test is run and must fail:

    killed     the test failed
    survived   the test passed: no test notices that the formula is wrong
    stale      the code that the entry names does not occur exactly once in its file
    broken     the test could not be run, or took too long: this says nothing about the formula

The exit code is 0 only if all were killed. Each test runs in its own process with one thread. The process is forked
from one that has already imported the libraries, since importing them takes longer than most tests. Compiled kernels
run as plain Python: the equations are the same, and compiling a changed kernel takes half a minute. Plain Python does
not support bfloat16, so the named tests must use float32 or float64.

The libraries mutmut and cosmic-ray change every operator and number, not chosen formulas: cosmic-ray 8.7 makes 7,181
changes in 24 of the 47 files here, and starts a pytest of 3 CPU seconds for each. Here are 162 changes of 0.6 s each.
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from benchmarks.harness import ROOT, Ratio, Report, finish, say

TABLE = Path(__file__).with_suffix(".toml")
COPIED = (
    "benchmarks",
    "core",
    "corpus",
    "course",
    "data_checks",
    "evaluation",
    "models",
    "reviewlm",
    "tests",
    "training",
)
LIBRARIES = [
    "torch",
    "torch._dynamo",
    "numpy",
    "polars",
    "scipy.stats",
    "tokenizers",
    "numba",
    "hypothesis",
    "pytest",
]
"""Modules that are imported before the tests; the first optimiser of a process would import torch._dynamo."""
OPTIONS = ["-q", "-x", "-p", "no:cacheprovider"]
LEFT_OUT = shutil.ignore_patterns("results")
SECONDS = 300
PASSED, FAILED = 0, 1
"""Exit codes of pytest; any other code means that tests could not be run."""

Outcome = Literal["killed", "survived", "stale", "broken"]


@dataclass(frozen=True)
class Mutation:
    """An error to make on purpose.

    Args:
        name: Name of the error.
        row: Row in the list of requirements of the course material: A the assignment, B n-gram models and perplexity,
            C layers and cells, D probabilities, losses and training, X examples.
        formula: Formula that the code computes.
        file: File of the code, from the root of the repository.
        code: Text that occurs exactly once in the file.
        mutant: Text that replaces it.
        change: Effect on the formula, in words.
        test: Node id of the test that must fail.
    """

    name: str
    row: str
    formula: str
    file: str
    code: str
    mutant: str
    change: str
    test: str

    def times_found(self, root: Path = ROOT) -> int:
        """Return how often the code occurs in the file: 1, unless the entry is stale."""
        path = root / self.file
        return path.read_text(encoding="utf-8").count(self.code) if path.is_file() else 0

    def test_exists(self, root: Path = ROOT) -> bool:
        """Return whether the file of the test defines a function with its name."""
        path, _, node = self.test.partition("::")
        if not (root / path).is_file():
            return False
        body = ast.parse((root / path).read_text(encoding="utf-8")).body
        return node.partition("[")[0] in {
            one.name for one in body if isinstance(one, ast.FunctionDef)
        }

    def place(self, root: Path = ROOT) -> str:
        """Return the module and the function, method or constant that contains the code."""
        text = (root / self.file).read_text(encoding="utf-8")
        first = text[: text.index(self.code)].count("\n") + 1
        lines = range(first, first + self.code.rstrip("\n").count("\n") + 1)
        module = "reviewlm." + self.file.removesuffix(".py").replace("/", ".")
        names = [module]
        body = ast.parse(text).body
        while found := next(
            (one for one in body if one.lineno in lines or first in _lines(one)), None
        ):
            if isinstance(found, ast.Assign | ast.AnnAssign) and len(names) == 1:
                names.append(
                    ast.unparse(
                        found.target if isinstance(found, ast.AnnAssign) else found.targets[0]
                    )
                )
            if not isinstance(found, ast.FunctionDef | ast.ClassDef):
                break
            names.append(found.name)
            body = found.body

        return ".".join(names)


def _lines(statement: ast.stmt) -> range:
    return range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)


def mutations(table: Path = TABLE) -> list[Mutation]:
    """Return the entries of the table.

    Raises:
        TypeError: A key is missing or unknown.
        ValueError: Two entries have the same name.
    """
    found = [
        Mutation(**entry) for entry in tomllib.loads(table.read_text(encoding="utf-8"))["mutation"]
    ]
    twice = [name for name, number in Counter(entry.name for entry in found).items() if number > 1]
    if twice:
        raise ValueError(
            f"{table.name} has more than one entry of the name {', '.join(map(repr, twice))}"
        )
    return found


def proofs(entries: Sequence[Mutation]) -> str:
    """Return the table of the page of equations: formula, its place in the code, its test."""
    lines = ["| row | formula | code | test |", "|---|---|---|---|"]
    for one in sorted(entries, key=lambda one: (one.row[0], int(one.row[1:]))):
        path, _, node = one.test.partition("::")
        test = f"`{Path(path).name}::{node}`"
        formula = one.formula.replace("|", "\\|")
        lines.append(f"| {one.row} | {formula} | `{one.place()}` | {test} |")
    return "\n".join(dict.fromkeys(lines))


class Copy:
    """A copy of the packages and tests, in which errors can be made.

    Args:
        folder: Empty folder for the copy.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            # Compiled modules are copied with their sources and the times of these, by which Python checks them.
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=LEFT_OUT)
        shutil.copy2(ROOT / "pyproject.toml", folder)
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(LIBRARIES)

    def tests(self, nodes: Sequence[str]) -> int | None:
        """Run tests; return the exit code of pytest, or None if they took more than `SECONDS`."""
        process = self._context.Process(target=_pytest, args=(str(self.folder), [*nodes]))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            return None
        return process.exitcode

    def said(self) -> str:
        """Return the end of the output of the last tests."""
        return (self.folder / "said.txt").read_text(encoding="utf-8", errors="replace")[-3_000:]

    def outcome(self, mutation: Mutation) -> Outcome:
        """Make the error, run its test, undo the error."""
        if mutation.times_found(self.folder) != 1:
            return "stale"

        path = self.folder / mutation.file
        right = path.read_text(encoding="utf-8")
        path.write_text(right.replace(mutation.code, mutation.mutant), encoding="utf-8")
        try:
            code = self.tests([mutation.test])
        finally:
            path.write_text(right, encoding="utf-8")

        if code == PASSED:
            return "survived"

        return "killed" if code == FAILED else "broken"


def _read_addresses_in_python() -> None:
    """Replace what reads memory by its address in kernels, which exists in compiled code only."""
    from reviewlm.models import compiled

    def reader(kind: type[ctypes._SimpleCData[Any]]) -> Callable[[int, int], Any]:
        return lambda address, index: (
            kind.from_address(int(address) + int(index) * ctypes.sizeof(kind)).value
        )

    kinds: dict[str, type[ctypes._SimpleCData[Any]]] = {
        "uint16_at": ctypes.c_uint16,
        "uint32_at": ctypes.c_uint32,
        "int64_at": ctypes.c_int64,
        "float32_at": ctypes.c_float,
        "float64_at": ctypes.c_double,
    }
    for name, kind in kinds.items():
        setattr(compiled, name, reader(kind))


def _pytest(folder: str, nodes: list[str]) -> None:
    """Run tests of the copy in this process, with its packages imported only from the copy."""
    os.chdir(folder)
    sys.path[:] = [folder, *(path for path in sys.path if path and Path(path).resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] in COPIED]:
        del sys.modules[name]

    # A changed file may have the same size and time (in seconds) as before.
    sys.dont_write_bytecode = True
    with open("said.txt", "w", encoding="utf-8") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)

    _read_addresses_in_python()
    import pytest

    sys.exit(
        int(pytest.main([*OPTIONS, f"--rootdir={folder}", f"--basetemp={folder}/made", *nodes]))
    )


def run(chosen: Sequence[Mutation]) -> dict[str, tuple[Outcome, float]] | None:
    """Return outcome and seconds of each mutation by name, or None if a test fails without any error made."""
    threads = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    os.environ |= threads | {"NUMBA_DISABLE_JIT": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Copy(Path(folder))
        fresh = [one for one in chosen if one.times_found() == 1]
        if fresh and copy.tests(sorted({one.test for one in fresh})) != PASSED:
            say(f"A test fails, or does not run, although nothing was changed:\n{copy.said()}")
            return None
        found: dict[str, tuple[Outcome, float]] = {}
        for number, one in enumerate(chosen, start=1):
            begin = time.perf_counter()
            outcome = copy.outcome(one)
            found[one.name] = outcome, round(time.perf_counter() - begin, 2)
            say(f"{number}/{len(chosen)} {one.row} {one.name}: {outcome}")
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 if a mutation was not killed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="a name or a row; may be given several times",
    )
    parser.add_argument(
        "--list", action="store_true", help="show rows, names and tests, run nothing"
    )
    parser.add_argument(
        "--table", action="store_true", help="print the table of the page of equations, run nothing"
    )
    parser.add_argument(
        "--json", action="store_true", help="the last line of standard output is one JSON object"
    )
    parser.add_argument(
        "--write", action="store_true", help="write benchmarks/results/DATE-mutations.md"
    )
    args = parser.parse_args(arguments)
    chosen = mutations()
    for name in args.only or []:
        if not any(name in (one.name, one.row) for one in chosen):
            parser.error(f"there is no mutation of the name or row {name!r}; --list shows them")

    if args.only:
        chosen = [one for one in chosen if {one.name, one.row} & {*args.only}]

    if args.list or args.table:
        print(
            proofs(chosen)
            if args.table
            else "\n".join(f"{one.row} {one.name}: {one.test}" for one in chosen)
        )
        return 0
    if (found := run(chosen)) is None:
        return 1

    finish(args, _report(chosen, found))
    left = [f"{name} ({outcome})" for name, (outcome, _) in found.items() if outcome != "killed"]
    say(f"not killed: {', '.join(left)}" if left else f"all {len(found)} killed")
    return 1 if left else 0


def _report(chosen: Sequence[Mutation], found: dict[str, tuple[Outcome, float]]) -> Report:
    rows = {
        one.name: {
            "row": one.row,
            "error": one.change,
            "outcome": found[one.name][0],
            "seconds": found[one.name][1],
        }
        for one in chosen
    }
    killed = sum(outcome == "killed" for outcome, _ in found.values())
    share = Ratio(round(killed / max(len(found), 1), 3), 1.0, "all mutations")
    return Report(
        "mutations",
        "Errors made on purpose in the formulas of the course, and whether the tests notice them",
        rows,
        {"mutations.killed": share},
        packages=["torch", "numpy", "pytest", "hypothesis"],
        notes=[
            "Formulas and tests: docs/concepts/models/equations.md.",
            "Seconds are those of one test in a process of its own.",
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
