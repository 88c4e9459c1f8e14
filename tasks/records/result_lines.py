"""Say the result of a run in lines: the account of its data, the tables of its models, what was passed over.

The terminal shows them (`reviewlm/shown_results.py`), and so does the log of a deployment's run, which nobody watches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from reviewlm.core.figures import (
    BASELINE_GAIN,
    BITS,
    NONE,
    TERMINAL,
    Amount,
    ModelFigure,
    figures_at,
)
from reviewlm.corpus.account import WORDS, Account, Outcome

STATIC_TITLE = "Models on the test reviews, the best one first"
ADAPTING_TITLE = (
    "Models that learn from a review while they read it (comparable among themselves only)"
)
PLUS_MINUS = "±: half of the interval of these reviews; the gate decides by a wider, cautious one"
MOST_SHOWN = 3
"""Files or findings that a line of the account names."""
BETWEEN = "  "
"""Between two columns of a table in a log."""


@dataclass(frozen=True)
class ModelTable:
    """A table of comparable models, the best one first, as text.

    Args:
        title: Its heading.
        rows: A row for each model; figures are an `Amount`.
        legend: What its columns mean, a line each.
    """

    title: str
    rows: Sequence[Mapping[str, str]]
    legend: Sequence[str] = ()


def account_lines(account: Mapping[str, Any], of: str = "") -> list[str]:
    """Return in at most five lines what became of the records of the input; *of* are options that name it.

    Args:
        account: See `reviewlm.corpus.account.Account.to_dict`.
    """
    whole = Account.from_dict(account)
    lines = [f"Data: {whole.equation}."]
    if reasons := _counts(whole.kinds(Outcome.SET_ASIDE)):
        lines.append(f"  set aside: {reasons}: `reviewlm data quarantine show{of}` lists them")

    others = []
    for outcome in (Outcome.REPLACED, Outcome.COPY, Outcome.LEFT_OUT, Outcome.NOT_READ):
        if whole.count(outcome):
            others.append(f"{WORDS[outcome]}: {_counts(whole.kinds(outcome))}")

    if others:
        lines.append(f"  {'; '.join(others)}")

    files = sorted(whole.files(), key=lambda row: row["used"] - row["records"])
    if len(files) > 1:
        shown = [f"{row['file']} {row['used']:,} of {row['records']:,}" for row in files]
        lines.append(f"  used of {len(files):,} files: {_first(shown, '; ')}")

    if odd := [f"{entry.file} {entry.title} {entry.count:,}".strip() for entry in whole.odd]:
        lines.append(f"  look at (warnings, data card): {_first(odd, '; ')}")

    return lines


def _counts(kinds: Mapping[str, int]) -> str:
    """Return the numbers of records by reason, in words."""
    return ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())


def _first(texts: Sequence[str], between: str) -> str:
    """Return the first few texts, and how many more there are."""
    listed = between.join(texts[:MOST_SHOWN])
    more = len(texts) - MOST_SHOWN
    if more > 0:
        listed += f" and {more:,} more"

    return listed


def sorted_models(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the models of a run: static ones, then those that adapt, each the best one first."""
    return sorted(result["models"], key=lambda model: (_adapts(model), _bits(model)))


def model_tables(result: Mapping[str, Any]) -> list[ModelTable]:
    """Return the tables of static and of adapting models of a run; the first one has the legend."""
    models = sorted_models(result)
    baseline = result.get("baseline", "")
    tables: list[ModelTable] = []
    for adapting, title in ((False, STATIC_TITLE), (True, ADAPTING_TITLE)):
        chosen = [model for model in models if _adapts(model) == adapting]
        if chosen:
            tables.append(_table_of(chosen, baseline, title, with_legend=not tables))

    return tables


def _table_of(
    models: Sequence[Mapping[str, Any]],
    baseline: str,
    title: str,
    *,
    with_legend: bool,
) -> ModelTable:
    """Return a table of comparable models, with their own baseline."""
    base = models[0].get("baseline", baseline)
    if all(model["name"] == base for model in models):
        base = ""  # the baseline alone has nothing to be compared with

    without = set()
    if not base:
        without.add(BASELINE_GAIN.name)

    if not any("hit@1" in model["test"] for model in models):
        without.add("hit@1")

    shown = [figure for figure in figures_at(TERMINAL) if figure.name not in without]
    several = len({model["unit"] for model in models}) > 1
    rows = [_row_of_model(model, shown, base, with_unit=several) for model in models]
    legend: list[str] = []
    if with_legend:
        legend = [f"{figure.heading(base)}: {figure.meaning}" for figure in shown]
        legend.append(PLUS_MINUS)

    return ModelTable(title, rows, legend)


def _adapts(model: Mapping[str, Any]) -> bool:
    """Return whether a model learns from a review while it reads it."""
    return bool(model.get("adaptation", "static") != "static")


def _bits(model: Mapping[str, Any]) -> float:
    """Return the bits per byte of a model, by which tables are sorted; infinite if they are not known."""
    bits = model["test"][BITS.name]
    if bits is not None and isfinite(bits):
        return bits
    return float("inf")


def _row_of_model(
    model: Mapping[str, Any],
    figures: Sequence[ModelFigure],
    baseline: str,
    *,
    with_unit: bool,
) -> dict[str, Any]:
    """Return the cells of a model: its figures, and its unit if the models have several."""
    test = model["test"]
    row = {"model": model["name"]}
    if with_unit:
        row["unit"] = model["unit"]

    for figure in figures:
        itself = figure is BASELINE_GAIN and model["name"] == baseline
        if itself:
            row[figure.heading(baseline)] = Amount(NONE)
        else:
            row[figure.heading(baseline)] = figure.text(test)

    return row


def model_notes(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield notes on the tables: impossible reviews, known text, the floor, learning curves."""
    models = sorted_models(result)
    for model in models:
        if impossible := model["test"].get("impossible"):
            reviews = f"{impossible} of {model['test']['reviews']} test reviews"
            yield f"{model['name']} calls {reviews} impossible (probability 0): its perplexity is infinite."

    named = {model["name"]: model for model in models}
    shown = named.get(result.get("challenger", ""), models[0] if models else {"test": {}})
    test = shown["test"]
    if covered := test.get("covered_reviews"):
        bits = BITS.number(test[f"uncovered_{BITS.name}"])
        yield (
            f"Passages of training text make up a quarter or more of {covered:,} of {test['reviews']:,} test reviews. "
            f"Without them {shown['name']} has {bits} bits/byte."
        )

    if floor := result.get("floor"):
        yield f"Floor: {floor['bits_per_byte']:.4f} bits/byte. {floor['statement']}"

    if hints := result.get("hints"):
        yield f"Hint: {' '.join(hints)}"


def result_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a log about a run of the pipeline: data, models, plan and what was passed over.

    The verdict of the gate is not among them: it is the last line of a log (`run_summary.verdict_of`).
    """
    if account := result.get("account"):
        yield from account_lines(account)

    for table in model_tables(result):
        yield f"{table.title}:"
        yield from aligned_lines(table.rows)

    yield from model_notes(result)
    yield from result.get("plan", {}).get("verdict", ())
    for sentence in result.get("passed_over", ()):
        yield f"Passed over: {sentence}."


def aligned_lines(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a table as lines of text with equal columns, the heading first; amounts stand on the right."""
    heading = {name: type(cell)(name) for name, cell in rows[0].items()}
    lines = [heading, *rows]
    widths = {}
    for name in heading:
        widths[name] = max(len(line[name]) for line in lines)

    aligned = []
    for line in lines:
        cells = []
        for name, text in line.items():
            right = isinstance(text, Amount)
            cells.append(text.rjust(widths[name]) if right else text.ljust(widths[name]))

        aligned.append(BETWEEN.join(cells).rstrip())

    return aligned
