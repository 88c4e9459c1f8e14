"""Render the report of a data check as one HTML page; all text is escaped.

Great Expectations' own renderer loads its styles and scripts from other hosts, so its pages are blank without a
network. It also spreads one check over four pages, and does not escape values of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from core.errors import as_html
from data_checks.report import CRITICAL, INFO, WARNING, CheckReport

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


def render(report: CheckReport, about: Mapping[str, str], advice: Sequence[str]) -> str:
    """Return the page of a report.

    Args:
        about: Facts that tell what was checked, when and by which release.
        advice: What a reader can do about a failed expectation; words between backticks are commands.
    """
    severities = list(MEANINGS)
    failed = sorted(
        (one for one in report.results if not one.passed), key=lambda one: severities.index(one.severity)
    )
    steps = [meaning for severity, meaning in MEANINGS.items() if any(one.severity == severity for one in failed)]
    to_do = [*([BROKEN] if report.broken else []), *steps, *(advice if failed else ())]
    return _template().render(report=report, about=about, failed=failed, to_do=to_do)


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
