"""Render the results of a data check as one HTML page; all text is escaped.

Great Expectations' own renderer loads its styles and scripts from other hosts, so its pages are blank without a
network. It also spreads one check over four pages, and does not escape values of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from core.errors import as_html
from data_checks.report import CRITICAL, INFO, WARNING, ExpectationResult

MEANINGS = {
    CRITICAL: "A failed critical expectation stops a run before the next stage. Correct the data and run the same "
    "command again; finished stages are reused.",
    WARNING: "A warning does not stop a run. Look at the values before you trust figures that come from these data.",
    INFO: "An info is only for the record.",
}
"""What a failed expectation of a severity means, and what to do."""
BROKEN = (
    "An expectation that could not be evaluated says nothing about the data. Correct the expectation: see the error "
    "below its name."
)


@dataclass(frozen=True)
class ShownResult:
    """The result of one expectation, as the page shows it.

    Args:
        result: Result in plain values.
        sentence: The expectation in words.
        about: Column, or columns; empty for the whole table.
        options: Limits of the expectation, as text.
        rows: Number of rows that fail and of all rows, as text; empty if it is no expectation on rows.
        examples: Values that fail; lengths for a private column.
        private: Whether the column may not be quoted.
    """

    result: ExpectationResult
    sentence: str
    about: str
    options: str
    rows: str = ""
    examples: tuple[str, ...] = ()
    private: bool = False


@dataclass(frozen=True)
class CheckPage:
    """A page: what was checked, when and with which release, the findings, and advice for the reader.

    *about* are facts that tell what was checked. In *advice*, words between backticks are commands.
    """

    name: str
    when: datetime
    release: str
    suite: str
    rows: int
    columns: Sequence[str]
    findings: Sequence[ShownResult]
    broken: Sequence[tuple[str, str]] = ()
    advice: Sequence[str] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[ShownResult]:
        """Findings that failed, the most severe first."""
        failed = [finding for finding in self.findings if not finding.result.passed]
        return sorted(failed, key=lambda finding: list(MEANINGS).index(finding.result.severity))

    @property
    def stops(self) -> bool:
        """Whether a run stops here."""
        return bool(self.broken) or any(finding.result.severity == CRITICAL for finding in self.failed)

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        severities = [finding.result.severity for finding in self.failed]
        total = len(self.findings) + len(self.broken)
        if not severities and not self.broken:
            return f"Passed: all {total} expectations hold."
        counted = [f"{severity}: {severities.count(severity)}" for severity in MEANINGS if severity in severities]
        parts = [f"{len(severities)} of {total} expectations do not hold ({', '.join(counted)})"] if severities else []
        parts += [f"{len(self.broken)} of {total} could not be evaluated"] if self.broken else []
        return f"{'Failed' if self.stops else 'Passed'}: {'; '.join(parts)}."

    @property
    def to_do(self) -> list[str]:
        """What to do, by the severities of the failed expectations."""
        severities = {finding.result.severity for finding in self.failed}
        steps = [meaning for severity, meaning in MEANINGS.items() if severity in severities]
        return [*([BROKEN] if self.broken else []), *steps, *(self.advice if severities else ())]

    def to_html(self) -> str:
        """Return the page."""
        return _template().render(page=self)


def _escape(value: Any) -> Markup:
    """Return a value escaped for HTML; direction and control characters become visible."""
    return value if isinstance(value, Markup) else Markup(as_html(str(value)))


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, finalize=_escape, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("page.html")
