"""pytest plugin of `make drill`: a row for each failure that tests with the marker `drill` cause.

    python -m pytest -p tests.drill_rows -m drill --drill-only 'disk full'

All tests whose marker has the same failure and the same deed share a row. When the last of them has ended, the row is
printed as one line. A test adds figures to its row with pytest's `record_property`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

PROPERTY = "drill"


@dataclass
class Row:
    """A failure, what was done to cause it, what must happen, figures, and whether it happened.

    `ok` is None if no test of the row could run on this machine.
    """

    failure: str
    done: str
    happened: str
    figures: dict[str, Any] = field(default_factory=dict)
    tests: int = 0
    seconds: float = 0.0
    ok: bool | None = None

    def line(self) -> str:
        """Return the row as it is printed."""
        word = {
            True: "ok",
            False: "FAILED",
            None: "not run",
        }[self.ok]
        figures = "".join(f", {name} {value}" for name, value in self.figures.items())
        return f"{word:<8} {self.failure}: {self.done}: {self.happened} ({self.seconds:.0f} s{figures})"


class Rows:
    """The rows of the collected tests, and how many of each row's tests have not ended."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.left: dict[tuple[str, str], int] = {}

    def expect(self, about: tuple[str, str, str]) -> None:
        self.rows.setdefault(about[:2], Row(*about))
        self.left[about[:2]] = self.left.get(about[:2], 0) + 1

    def add(self, report: pytest.TestReport) -> Row | None:
        """Add a phase of a test to its row; return the row when its last test has ended."""
        told = dict(report.user_properties)
        if PROPERTY not in told:
            return None
        key = tuple(told.pop(PROPERTY)[:2])
        row = self.rows[key]
        row.seconds = round(row.seconds + report.duration, 1)
        if report.failed:
            row.ok, row.happened = False, f"{report.nodeid} failed: {_reason(report)}"
        elif report.skipped and row.ok is None:
            row.happened = f"not run: {_reason(report)}"
        elif report.when == "call" and report.passed:
            row.tests += 1
            row.figures |= told
            row.ok = True if row.ok is None else row.ok
        if report.when != "teardown":
            return None
        self.left[key] -= 1
        return row if self.left[key] == 0 else None


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):  # file, line and reason of a skipped test
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash else str(report.longrepr)).strip().splitlines()
    return lines[0] if lines else ""


ROWS = pytest.StashKey[Rows]()


def about(item: pytest.Item) -> tuple[str, str, str] | None:
    """Return the arguments of a test's marker."""
    marker = item.get_closest_marker("drill")
    return None if marker is None else (marker.args[0], marker.args[1], marker.args[2])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--drill-only", default="", help="words that a row's failure or deed must contain"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the wanted rows."""
    words = config.getoption("--drill-only").lower().split()
    items[:] = [
        item
        for item in items
        if (told := about(item)) and all(word in " ".join(told[:2]).lower() for word in words)
    ]


def pytest_collection_finish(session: pytest.Session) -> None:
    rows = session.config.stash[ROWS] = Rows()
    for item in session.items:
        if (told := about(item)) is not None:
            item.user_properties.append((PROPERTY, told))
            rows.expect(told)


class _Printer:
    """Prints the rows; a class, because pytest gives this hook no configuration."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (row := self.config.stash[ROWS].add(report)) is not None:
            reporter: Any = self.config.pluginmanager.get_plugin("terminalreporter")
            reporter.write(f"\n{row.line()}\n")  # the line before may be one of dots


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Printer(config), "drill-printer")
