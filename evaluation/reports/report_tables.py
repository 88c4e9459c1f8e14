"""Build the tables of a run's report as rows, and put its title, its headline and its findings into words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl

from reviewlm.core.figures import (
    BASELINE_GAIN,
    BITS,
    NONE,
    TERMINAL,
    Amount,
    ModelFigure,
    amount,
    figures_at,
)
from reviewlm.evaluation.gate.decision import COLUMNS, Decision
from reviewlm.evaluation.reports.run_results import RunResults
from reviewlm.evaluation.statistics.comparison import baseline_of
from reviewlm.evaluation.statistics.slice_table import worst_slices
from reviewlm.evaluation.statistics.slices import slice_name
from reviewlm.models.base import STATIC

Row = dict[str, Any]
Columns = Mapping[str, Callable[[Row], str]]
"""Functions that write the cells of a table, by the names of its columns."""
COPYING = 2.0
"""A model that copies this many times the share of 8-grams that people repeat is reported as copying."""
ABOUT_MORE = (
    "The floor: what the grammar that wrote the reviews needs itself. Uncovered: without the reviews of whose words a "
    "quarter or more stand in passages of training text."
)
ABOUT_COSTS = "Each time was measured once, so small differences mean nothing."
AUDITED = {
    "copied_4": "4-grams",
    "copied_8": "8-grams",
    "longest_copied": "longest copy",
    "private_patterns": "personal data",
    "canaries_written": "canaries",
    "canaries_known": "secrets known",
    "exposure_once": "mean exposure",
}
ABOUT_AUDIT = (
    "Shares of 4-grams and 8-grams that stand in the training text too, and the longest copy in words: best "
    "as in real reviews. Lower is better: personal data; canaries (made-up secrets, each planted in one training review) "
    "that it wrote; how many of them it knows by heart (likelier than 99.9 % of similar texts that it has never read); "
    "their mean exposure in bits (1.4 if it has learnt nothing of them)."
)


def title(
    source: str,
    model: str,
    version: int | None,
    decision: Decision | None,
) -> str:
    """Return the data, and what became of it: "yelp.csv, 2,000 reviews → reviewlm version 3, promoted"."""
    if decision is None:
        return f"{source} → evaluated, not offered to the gate"
    name = model if version is None else f"{model} version {version}"
    return f"{source} → {name}, {'promoted' if decision.promote else 'not promoted'}"


def headline(results: RunResults) -> str:
    """Return how good the winner is, against what, and whether and why it was promoted."""
    row = results.row(results.winner)
    gain = row.get(BASELINE_GAIN.name)
    base = baseline_of(results.against, results.winner)
    beside = ""
    if gain is not None and base not in ("", results.winner):
        share = BASELINE_GAIN.number(abs(gain))
        beside = f", {share} {'fewer' if gain >= 0 else 'more'} than the baseline {base}"

    bits = BITS.number(row[BITS.name])
    needs = (
        f"{results.winner} needs {bits} bits per byte of {row['reviews']:,} test reviews{beside}."
    )
    return f"{needs} {outcome(results.decision, results.version, results.champion)}"


def outcome(
    decision: Decision | None,
    version: int | None,
    champion: int | None,
) -> str:
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
    best = []
    for model in results.models:
        if model.kept is not None:
            best.append(f"{model.name} {amount(model.kept[1])}")

    if best:
        return f"Validation perplexity: {', '.join(best)}."
    return ""


def finding_of_worst(results: RunResults) -> str:
    """Return the winner's hardest slice, where it is surely worse than the baseline, and how wrong its guesses are."""
    ece = results.model(results.winner).observed.get("ece")
    trust = ""
    if ece is not None:
        trust = f"The probability of its first guess is off by {ece:.1%} on average."

    if results.slices is None or not len(
        slices := results.slices.filter(pl.col("model") == results.winner)
    ):
        return trust

    base = baseline_of(results.against, results.winner)
    sentence = "No slice is surely harder than all reviews."
    hardest = worst_slices(slices, base, 1).filter(
        pl.col("relative_to") == "whole", "surely_harder"
    )
    for row in hardest.to_dicts():
        far = "infinite"
        if row["excess"] is not None:
            far = f"{row['excess']:.0%} more bits than for all reviews"

        sentence = f"Hardest: {slice_name(row)}, {far}."

    if base in ("", results.winner):
        return f"{sentence} {trust}"

    lost = [slice_name(row) for row in slices.filter(pl.col("surely_worse")).to_dicts()]
    where = ""
    if lost:
        where = f": {'; '.join(lost)}"

    return f"{sentence} Surely worse than {base} in {len(lost) or 'none'} of {len(slices)} slices{where}. {trust}"


def finding_of_copying(figures: Mapping[str, Any]) -> str:
    """Return the copied share of a model's 8-grams, that of held-out reviews, and the longest copied span."""
    share, real, longest = (
        figures.get(name) for name in ("copied_8", "real_copied_8", "longest_copied")
    )
    if share is None:
        return "" if figures else "What it writes was not audited: it may recite its training text."

    shown = "less than 0.1%" if 0 < share < 5e-4 else f"{share:.1%}"
    beside = "" if real is None else f"; of held-out reviews {real:.1%}"
    copies = ""
    if real is not None and share > COPYING * max(real, 1e-3):
        copies = " It copies."

    span = "" if longest is None else f" The longest copied run has {longest:,.0f} words."
    return (
        f"Of the 8-grams that it writes {shown} stand in the training text{beside}.{copies}{span}"
    )


def shown_columns(
    first: str,
    rows: Sequence[Row],
    columns: Columns,
) -> list[Row]:
    """Return a table with the names of *rows* under *first*, without columns that no row has; empty if all are."""
    cells = {}
    for head, write in columns.items():
        cells[head] = [write(row) for row in rows]

    heads = []
    for head, column in cells.items():
        if any(cell != NONE for cell in column):
            heads.append(head)

    if not heads:
        return []

    table = []
    for place, row in enumerate(rows):
        amounts = {head: Amount(cells[head][place]) for head in heads}
        table.append({first: row["name"], **amounts})

    return table


def models(
    results: RunResults,
    place: str,
    adapting: bool | None = None,
) -> list[Row]:
    """Return the rows of one of the report's tables of models, best first, each with the figures of that table.

    Args:
        place: Table of the report: `ANSWER`, `MORE` or `COSTS` of `reviewlm.core.figures`.
        adapting: True for adaptive models only, False for static models only, None for all.

    Returns:
        An empty list if no model has any of the figures; no column that no model has a figure for.
    """
    observed = {model.name: model.observed for model in results.models}
    rows = [{**observed.get(row["model"], {}), **row} for row in results.table.to_dicts()]
    rows = [row for row in rows if adapting is None or adapts(row) == adapting]
    units = {row.get("unit") for row in results.table.to_dicts()}
    for row in rows:
        row["name"] = row["model"] + (
            f" ({row['unit']})" if len(units) > 1 and row.get("unit") else ""
        )
    base = ""
    if rows:
        base = baseline_of(results.against, rows[0]["model"])

    columns = {figure.heading(base): partial(_figure_cell, figure) for figure in figures_at(place)}
    return shown_columns("model", rows, columns)


def _figure_cell(figure: ModelFigure, row: Row) -> str:
    """Return the cell of a figure in a model's row; a baseline has no gain over itself."""
    if figure is BASELINE_GAIN and row.get("baseline") == row["model"]:
        return NONE
    return figure.text(row)


def adapts(row: Mapping[str, Any]) -> bool:
    """Return whether a row is of a model that adapts to what it reads."""
    return bool(row.get("adaptation", STATIC) != STATIC)


def about_models(results: RunResults) -> str:
    """Return the caption of the first table: what its columns mean."""
    rows = results.table.to_dicts()
    vocabularies = {row["vocabulary"] for row in rows}
    sample_size = max(
        (int(model.observed.get("reviews", 0)) for model in results.models), default=0
    )
    base = results.baseline if len(rows) > 1 else ""
    parts = [f"{rows[0]['reviews']:,} test reviews, best model first."]
    for figure in figures_at(TERMINAL):
        unmeasured = (figure is BASELINE_GAIN and not base) or (
            figure.name == "hit@1" and not sample_size
        )
        if not unmeasured:
            heading = figure.heading(base)
            parts.append(f"{heading[:1].upper()}{heading[1:]}: {figure.meaning}.")

    if sample_size:
        parts.append(f"The sample: {sample_size:,} reviews.")
    if len(vocabularies) > 1:
        parts.append("Perplexities compare models of one vocabulary only.")
    parts.append(about_intervals(results.confidence))
    return " ".join(parts)


def about_intervals(confidence: float) -> str:
    """Explain ±, and how it differs from the interval that the gate decides by."""
    return (
        f"±: half of the {confidence:.0%} interval of these test reviews; the gate decides by a wider one, its "
        "cautious interval."
    )


def rules(decision: Decision) -> list[Row]:
    """Return one row per rule of the gate: failed rules, those that passed, those that do not apply."""
    rows = []
    for cells in decision.rows():
        row: Row = dict(zip(COLUMNS, cells, strict=True))
        for name in ("value", "limit"):
            row[name] = Amount(row[name].replace(NONE, ""))
        rows.append(row)

    return rows


def count_of_rules(decision: Decision) -> str:
    """Return how many rules there are, by outcome: "25 rules: 14 passed, 11 not applicable"."""
    counts = Counter(result for _, result, *_ in decision.rows())
    return f"{len(decision.rules)} rules: {', '.join(f'{count} {result}' for result, count in counts.items())}."


def audit(results: RunResults) -> list[Row]:
    """Return one row per text with the figures of the audit: held-out reviews, then each model, the winner first."""
    audited = sorted(
        (model for model in results.models if model.audit),
        key=lambda one: one.name != results.winner,
    )
    if not audited:
        return []

    real = {name: audited[0].audit.get(f"real_{name}") for name in AUDITED}
    rows = [
        {"name": "real reviews", **real},
        *({"name": model.name, **model.audit} for model in audited),
    ]
    columns = {words: partial(_audit_cell, name) for name, words in AUDITED.items()}
    return shown_columns("text of", rows, columns)


def _audit_cell(name: str, row: Row) -> str:
    value = row.get(name)
    if not isinstance(value, int | float) or math.isnan(value):
        return NONE
    if name.startswith("copied_"):
        return f"{value:.1%}"
    if isinstance(value, int):
        return f"{value:,}"
    return amount(value, 3)


def digests(results: RunResults) -> dict[str, str]:
    """Return the digests of data and models, which identify them in the store and the lineage."""
    of_models = {
        f"{model.name}: {what}": digest
        for model in results.models
        for what, digest in model.digests.items()
    }
    return {**results.digests, **of_models}
