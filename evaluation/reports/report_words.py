"""Put numbers and findings of a run into words: its title, its headline, and the finding of each section."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from evaluation.gate.decision import Decision
from evaluation.reports.run_results import RunResults
from evaluation.statistics.comparison import baseline_of
from evaluation.statistics.slice_table import worst_slices
from evaluation.statistics.slices import slice_name

BITS = "open_bits_per_byte"


def amount(value: float | None, digits: int = 4) -> str:
    """Return a number with *digits* significant digits; "–" if there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "infinite"
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:#,.{digits}g}".rstrip(".")


def with_interval(row: Mapping[str, Any], column: str, digits: int = 4) -> str:
    """Return a figure with half the width of its interval, if the row has one: "1.234 ±0.03"."""
    value, low, high = row.get(column), row.get(f"{column}_lo"), row.get(f"{column}_hi")
    return amount(value, digits) + ("" if low is None or high is None else f" ±{(high - low) / 2:.2g}")


def title(source: str, model: str, version: int | None, decision: Decision | None) -> str:
    """Return the data, and what became of it: "yelp.csv, 2,000 reviews → reviewlm version 3, promoted"."""
    if decision is None:
        return f"{source} → evaluated, not offered to the gate"
    name = model if version is None else f"{model} version {version}"
    return f"{source} → {name}, {'promoted' if decision.promote else 'not promoted'}"


def headline(results: RunResults) -> str:
    """Return how good the winner is, against what, and whether and why it was promoted."""
    row = results.row(results.winner)
    gain, base = row.get("gain"), baseline_of(results.against, results.winner)
    beside = ""
    if gain is not None and base not in ("", results.winner):
        beside = f", {abs(gain):.1%} {'fewer' if gain >= 0 else 'more'} than the baseline {base}"
    needs = f"{results.winner} needs {amount(row[BITS])} bits per byte of {row['reviews']:,} test reviews{beside}."
    return f"{needs} {outcome(results.decision, results.version, results.champion)}"


def outcome(decision: Decision | None, version: int | None, champion: int | None) -> str:
    """Return the gate's decision about a model, with its reason."""
    if decision is None:
        return "The gate was not asked."
    reason = decision.reason.rstrip(".")
    if decision.promote:
        return f"Promoted{'' if version is None else f' as version {version}'}: {reason}."
    stays = f", version {champion} stays champion" if champion else ""
    return f"Not promoted{stays}: {reason}."


def finding_of_curves(results: RunResults) -> str:
    """Return the lowest validation perplexity of each network."""
    best = [f"{model.name} {amount(model.kept[1])}" for model in results.models if model.kept is not None]
    return f"Validation perplexity: {', '.join(best)}." if best else ""


def finding_of_worst(results: RunResults) -> str:
    """Return the slice that is surely hardest for the winner, and where it is surely worse than the baseline."""
    if results.slices is None or not len(slices := results.slices.filter(pl.col("model") == results.winner)):
        return ""
    base = baseline_of(results.against, results.winner)
    sentence = "No slice is surely harder than all reviews."
    hardest = worst_slices(slices, base, 1).filter(pl.col("relative_to") == "whole", "surely_harder")
    for row in hardest.to_dicts():
        far = "infinite" if row["excess"] is None else f"{row['excess']:.0%} more bits than for all reviews"
        sentence = f"Hardest: {slice_name(row)}, {far}."
    if base in ("", results.winner):
        return sentence
    lost = [slice_name(row) for row in slices.filter(pl.col("surely_worse")).to_dicts()]
    return f"{sentence} Surely worse than {base} in {'; '.join(lost) or 'none'} of {len(slices)} slices."


def finding_of_calibration(results: RunResults) -> str:
    """Return how far the winner's probabilities are off."""
    ece = results.model(results.winner).observed.get("ece")
    return "" if ece is None else f"The probability of its first guess is off by {ece:.1%} on average."


def finding_of_sample(results: RunResults) -> str:
    """Return in how many test reviews single tokens were observed: "40 of the 680 test reviews"; "" if unknown."""
    drawn = max((int(model.observed.get("reviews", 0)) for model in results.models), default=0)
    return f"{drawn:,} of the {results.row(results.winner)['reviews']:,} test reviews" if drawn else ""


COPYING = 2.0
"""A model that copies this many times the share of 8-grams that people repeat is reported as copying."""


def finding_of_copying(audit: Mapping[str, Any]) -> str:
    """Return the copied share of a model's 8-grams, that of held-out reviews, and the longest copied span."""
    share, real, longest = (audit.get(name) for name in ("copied_8", "real_copied_8", "longest_copied"))
    if share is None:
        return "" if audit else "What it writes was not audited: it may recite its training text."
    beside = "" if real is None else f"; of held-out reviews {real:.1%}"
    copies = " It copies." if real is not None and share > COPYING * max(real, 1e-3) else ""
    span = "" if longest is None else f" The longest copied run has {longest:,.0f} words."
    return f"Of the 8-grams that it writes {share:.1%} stand in the training text{beside}.{copies}{span}"
