"""Define the report of a data check in plain values, for artifacts, the terminal and the UI."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from reviewlm.core.errors import CheckFailed, ReviewLMError
from reviewlm.core.output import code, literal

Severity = Literal["critical", "warning", "info"]
CRITICAL: Severity = "critical"
WARNING: Severity = "warning"
INFO: Severity = "info"
"""A failed critical expectation stops the run, a warning is shown with the run's result, an info is only logged."""

log = logging.getLogger(__name__)

QUARANTINED = "checks.max_quarantined"
"""Setting that is named in the sentence of an expectation about the quarantine."""


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation and the observed value.

    Args:
        expectation: Kind of the check (`data_checks/checks.py`).
        severity: "critical", "warning" or "info".
        passed: Whether the data meet it.
        observed: Share, count or value that was found, as text.
        sentence: The expectation in words, with the observed value and examples of failing ones.
        column: Column, or columns; empty for the whole table.
        options: Limits of the expectation, as text.
    """

    expectation: str
    severity: Severity
    passed: bool
    observed: str
    sentence: str
    column: str = ""
    options: str = ""


@dataclass(frozen=True)
class CheckReport:
    """Outcome of one suite.

    Args:
        stage: "raw", "clean", "tokens", "predictions" or "samples".
        name: Name of the checked table.
        passed: Whether no critical expectation failed and none was broken.
        results: Results in the order of the suite.
        report_path: `index.html` of the Data Docs. Relative to the folder that holds the documentation folder, so an
            artifact can be moved together with its report.
        broken: Expectations that could not be evaluated, with the exception. They say nothing about the data.
    """

    stage: str
    name: str
    passed: bool
    results: tuple[ExpectationResult, ...]
    report_path: Path
    broken: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[ExpectationResult, ...]:
        """Failed critical expectations, which stop a run."""
        return tuple(
            result for result in self.results if not result.passed and result.severity == CRITICAL
        )

    @property
    def warnings(self) -> tuple[ExpectationResult, ...]:
        """Failed expectations of severity warning, which are shown with the run's result."""
        return tuple(
            result for result in self.results if not result.passed and result.severity == WARNING
        )

    @property
    def counted(self) -> str:
        """The number of expectations that passed, and of all."""
        held = sum(result.passed for result in self.results)
        return (
            f"{held} of {len(self.results) + len(self.broken)} expectations of '{self.stage}' hold"
        )

    @property
    def summary(self) -> str:
        """One line: the number of expectations that passed, and the sentences of the others."""
        complaints = [f"broken: {name}" for name in self.broken]
        complaints += [
            f"{result.severity}: {result.sentence}" for result in self.results if not result.passed
        ]
        return "; ".join([self.counted, *complaints])

    @property
    def _remedy(self) -> str:
        """Advice about the failed expectations; a limit that is a setting stands in their sentences."""
        remedy = "open the report; correct the data, leave a bad file out, or set another limit: `--set checks.NAME=VALUE`"
        if any(QUARANTINED in result.sentence for result in self.failed):
            remedy += ". `reviewlm data quarantine show` with the same --input shows what could not be read"
        return remedy

    def with_folder(self, folder: Path) -> CheckReport:
        """Return the report with the full path of its page; *folder* is the parent of the documentation folder."""
        return replace(self, report_path=folder / self.report_path)

    def require(self, label: str = "") -> CheckReport:
        """Return the report if the data may be used; log failed expectations that are not critical.

        *label* names the checked data in the log, e.g. "samples lstm"; default: the stage.

        Raises:
            ReviewLMError: An expectation could not be evaluated, which says nothing about the data.
            CheckFailed: A critical expectation failed; the message has its sentence and the path of the page.
        """
        if self.broken:
            raise ReviewLMError(
                f"A data check of '{self.stage}' is broken: {'; '.join(self.broken)}",
                where=self.report_path,
                cause="the expectation raised an error; the data were not judged",
                remedy="correct data_checks/suites.py",
            )

        for result in self.results:
            if not result.passed and result.severity != CRITICAL:
                level = logging.WARNING if result.severity == WARNING else logging.INFO
                page = f". Details: {self.report_path}" if self.report_path else ""
                log.log(
                    level,
                    "%s: %s%s",
                    label or self.stage,
                    result.sentence,
                    page,
                )

        if self.failed:
            raise CheckFailed(
                "; ".join(result.sentence for result in self.failed),
                report=self.report_path,
                remedy=self._remedy,
            )

        return self

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return _JSON.dump_json(self, indent=2).decode()

    @classmethod
    def from_json(cls, text: str) -> CheckReport:
        """Read a report that `to_json` wrote."""
        return _JSON.validate_json(text)

    def to_markdown(self) -> str:
        """Return the expectations as a Markdown table, failed ones first."""
        lines = [f"**{self.stage}** {code(self.name)}: {'passed' if self.passed else 'failed'}", ""]
        lines += ["| outcome | severity | expectation |", "|---|---|---|"]
        for result in sorted(self.results, key=lambda result: result.passed):
            outcome = "held" if result.passed else "**failed**"
            lines.append(f"| {outcome} | {result.severity} | {literal(result.sentence)} |")
        return (
            "\n".join([*lines, *(f"\nBroken check: {literal(name)}" for name in self.broken)])
            + "\n"
        )


_JSON = TypeAdapter(CheckReport)
