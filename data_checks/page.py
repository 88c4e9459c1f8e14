"""Make the page of a data check: its verdict, what failed, what to do, and all expectations.

Great Expectations' own renderer loads its styles and scripts from other hosts, so its pages are blank without a
network. It also spreads one check over four pages, and does not escape values of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reviewlm.data_checks.report import CRITICAL, INFO, WARNING, CheckReport
from reviewlm.evaluation.reports.document import Link, Page, PageSection, PageTable, PageText

RESULTS = "validation.json"
"""The results in Great Expectations' own form, a file beside the page."""
MEANINGS = {
    CRITICAL: "A failed critical expectation stops a run before the next stage. Correct the data and run the same "
    "command again; finished stages are reused.",
    WARNING: "A warning does not stop a run. Look at the values before you trust figures that come from these data.",
    INFO: "An info is only for the record.",
}
"""What a failed expectation of a severity means, and what to do."""
BROKEN = (
    "An expectation that could not be evaluated says nothing about the data. Correct the expectation: see the error "
    "behind its name."
)
ABOUT_EXAMPLES = (
    "A failed critical expectation stops a run, a warning does not. Of a column that may not be quoted, examples are "
    "lengths."
)


def page_of(
    report: CheckReport,
    about: Mapping[str, str],
    advice: Sequence[str],
) -> Page:
    """Return the page of a report.

    Args:
        about: Facts that tell what was checked, when and by which release.
        advice: What a reader can do about a failed expectation; words between backticks are commands, and are quoted.
    """
    failed = [
        one
        for severity in MEANINGS
        for one in report.results
        if not one.passed and one.severity == severity
    ]
    steps = []
    for severity in dict.fromkeys(one.severity for one in failed):
        steps.append(MEANINGS[severity])

    advice = [one.replace("`", '"') for one in advice if failed]
    to_do = [*([BROKEN] if report.broken else []), *steps, *advice]
    faults = [PageText(f"Could not be evaluated: {words}", "bad") for words in report.broken]
    rows = [
        {
            "severity": one.severity,
            "expectation": one.sentence,
            "column": one.column,
            "check": f"{one.expectation} {one.options}",
        }
        for one in failed
    ]
    every = [
        {
            "outcome": "held" if one.passed else "failed",
            "severity": one.severity,
            "expectation": one.sentence,
        }
        for one in report.results
    ]
    sections = []
    if to_do:
        sections = [
            PageSection("What failed", [*faults, PageTable.of(rows)]),
            PageSection("What to do", [to_do]),
        ]

    sections += [
        PageSection(
            "All expectations", [PageTable.of(every), ABOUT_EXAMPLES, [Link(RESULTS, RESULTS)]]
        )
    ]
    outcome = "Passed" if report.passed else "Failed"
    kind = "bad"
    if report.passed:
        kind = "" if failed else "good"

    lead = " · ".join(f"{what} {value}" for what, value in about.items() if value)
    verdict = PageText(f"{outcome}: {report.counted}", kind)
    return Page(
        f"Data check: {report.name}",
        lead,
        sections,
        [verdict],
        "card",
    )
