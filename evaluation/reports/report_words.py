"""Put numbers and findings of a run into words: the headline of the report, and the finding of each figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from evaluation.reports.run_results import ModelResults, RunResults
from evaluation.scoring.metrics import LN2
from evaluation.statistics.comparison import baseline_of
from evaluation.statistics.pareto import on_front
from evaluation.statistics.slice_names import OF_TOKENS, slice_name
from evaluation.statistics.slice_table import worst_slices
from models.base import STATIC

BITS = "open_bits_per_byte"


def amount(value: float | None, digits: int = 4) -> str:
    """Return a number with *digits* significant digits; "–" if there is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "infinite"
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:#,.{digits}g}".rstrip(".")


def with_interval(row: Mapping[str, Any], column: str, digits: int = 4, below: bool = False) -> str:
    """Return a figure with its interval, if the row has one: "1.234 (1.201 to 1.262)", or on two lines."""
    value, low, high = row.get(column), row.get(f"{column}_lo"), row.get(f"{column}_hi")
    between = "\n" if below else " "
    span = "" if low is None or high is None else f"{between}({amount(low, digits)} to {amount(high, digits)})"
    return amount(value, digits) + span


def headline(results: RunResults) -> str:
    """Return which model won, or the figure of the only one; by how much, and whether and why it was promoted."""
    row = results.row(results.winner)
    span = f" ({results.confidence:.0%} interval {_span(row)})" if row.get(f"{BITS}_lo") is not None else ""
    won = " won" if len(results.table) > 1 else ""
    sentence = (
        f"{results.winner}{won}: {amount(row[BITS])} open bits per byte on {row['reviews']:,} test reviews{span}"
        f"{_compared(results, row)}."
    )
    return f"{sentence} {outcome(results)}"


def outcome(results: RunResults) -> str:
    """Return the gate's decision about the winner, with its reason."""
    decision = results.decision
    if decision is None:
        return "The gate was not asked: the registry is as it was."
    reason = decision.reason.rstrip(".")
    if decision.promote:
        return f"It was promoted to champion as version {results.version}: {reason}."
    stays = f"version {results.champion} stays champion" if results.champion else "there is no champion"
    return f"It was not promoted, {stays}: {reason}."


def _span(row: Mapping[str, Any]) -> str:
    return f"{amount(row[f'{BITS}_lo'])} to {amount(row[f'{BITS}_hi'])}"


def _compared(results: RunResults, row: Mapping[str, Any]) -> str:
    """Return the difference of a model to the baseline and the floor."""
    gain, base, parts = row.get("gain"), baseline_of(results.against, row["model"]), []
    if gain is not None and base and row["model"] != base:
        parts.append(f"{abs(gain):.1%} {'fewer' if gain >= 0 else 'more'} than the baseline {base}")
    if (gap := row.get("gap")) is not None:
        parts.append(f"{abs(gap):.4f} {'above' if gap >= 0 else 'below'} the floor")
    return f", {' and '.join(parts)}" if parts else ""


def said_of_curves(results: RunResults) -> str:
    """Return the lowest validation perplexity of each group of models that compare: one vocabulary, adaptive or not."""
    best: dict[tuple[bool, str], tuple[float, str, float]] = {}
    for model in results.models:
        before = sum(_tokens_read(results, part) for part in model.parts)
        seen = "validation/perplexity"
        measured = [(line["step"], line[seen]) for line in model.curve if seen in line]
        points_of_model = measured if model.kept is None else [model.kept]  # on all validation reviews, not on a part
        points = [(value, model.name, step + before) for step, value in points_of_model if math.isfinite(value)]
        if points:
            group = model.adaptation != STATIC, model.vocabulary
            best[group] = min([*points, *([best[group]] if group in best else [])])
    sentences = []
    for adapting, of in ((False, ""), (True, " of the models that adapt to what they read")):
        lowest = [
            f"{name} with {amount(value)} after {step:,.0f} tokens{_of_parts(results, name)}"
            for (adapts, _), (value, name, step) in best.items() if adapts == adapting
        ]  # fmt: skip
        each = " (one for each vocabulary)" if len(lowest) > 1 else ""
        sentences += [f"Lowest validation perplexity{of}{each}: {'; '.join(lowest)}."] if lowest else []
    return " ".join(sentences)


def said_of_costs(results: RunResults) -> str:
    """Return the models that none of their group beats in quality and costs together."""
    front = on_front(results.table)
    ways = dict(results.table.select("model", "adaptation").iter_rows())
    static = [name for name in front if ways[name] == STATIC]
    adaptive = [name for name in front if ways[name] != STATIC]
    return " ".join([
        *([f"Not beaten{' among static models' if adaptive else ''}: {', '.join(static)}."] if static else []),
        *([f"Not beaten among models that adapt: {', '.join(adaptive)}."] if adaptive else []),
    ])  # fmt: skip


def _tokens_read(results: RunResults, name: str) -> float:
    """Return the tokens that the fit of a model and the fits of its parts have read, repeats included."""
    model = next((model for model in results.models if model.name == name), None)
    if model is None:
        return 0
    steps = max((line["step"] for line in model.curve if "step" in line), default=0)
    return steps + sum(_tokens_read(results, part) for part in model.parts)


def _of_parts(results: RunResults, name: str) -> str:
    parts = results.model(name).parts
    return f", those of its part{'s' * (len(parts) > 1)} {' and '.join(parts)} included" if parts else ""


def said_of_bars(results: RunResults) -> str:
    """Return the best model on the test reviews and its differences to baseline and floor."""
    rows = results.table.to_dicts()
    best = {way: next((row for row in rows if (row.get("adaptation", STATIC) != STATIC) == way), None)
            for way in (False, True)}  # fmt: skip
    sentences = []
    for adapting, row in best.items():
        if row is None or not math.isfinite(row[BITS]):
            continue
        of = f"Of the models that adapt to what they read, {row['model']}" if adapting else row["model"]
        bits = with_interval(row, BITS)
        sentences.append(f"{of} needs the fewest open bits per byte, {bits}{_compared(results, row)}.")
    return " ".join(sentences) or "Every model calls at least one test review impossible."


def said_of_slices(results: RunResults, dimension: str) -> str:
    """Return the slices of a dimension in which the winner needs the most and the fewest bits."""
    if results.slices is None:
        return ""
    column = "bits_per_token" if dimension in OF_TOKENS else BITS
    of_winner = (pl.col("model") == results.winner) & (pl.col("dimension") == dimension) & pl.col(column).is_finite()
    rows = results.slices.filter(of_winner).sort(column, descending=True)
    if len(rows) < 2:
        return ""
    most, least = rows.row(0, named=True), rows.row(-1, named=True)
    return (
        f"{results.winner} needs the most bits at “{most['slice']}” ({amount(most[column], 3)}), the fewest at "
        f"“{least['slice']}” ({amount(least[column], 3)})."
    )


def said_of_worst(results: RunResults) -> str:
    """Return the slice that is surely hardest for the winner, and where it is surely worse than the baseline."""
    if results.slices is None:
        return ""
    slices = results.slices.filter(pl.col("model") == results.winner)
    base = baseline_of(results.against, results.winner)
    if not len(slices):
        return ""
    sentence = "No slice is surely harder than all reviews."
    hardest = worst_slices(slices, base, 1).filter(pl.col("relative_to") == "whole", "surely_harder")
    for row in hardest.to_dicts():
        far = "infinite" if row["excess"] is None else beside_all(row["excess"])
        sentence = f"Hardest: {slice_name(row)}, {far}."
    lost = [slice_name(row) for row in slices.filter(pl.col("surely_worse")).to_dicts()]
    where = f"in {'; '.join(lost)}" if lost else "in no slice"
    of_tokens = slices["dimension"].is_in(OF_TOKENS).sum()
    kinds = f"{len(slices) - of_tokens} slices of reviews" + (f" and {of_tokens} of tokens" if of_tokens else "")
    against = f" Of {kinds} it is surely worse than {base} {where}."
    return sentence + (against if base not in ("", results.winner) else "")


def beside_all(excess: float) -> str:
    """Return how far a slice is from the model's figure of all reviews: "9% above all reviews"."""
    share = f"{abs(excess):.0%}"
    return "as all reviews" if share == "0%" else f"{share} {'above' if excess > 0 else 'below'} all reviews"


def said_of_sample(results: RunResults) -> str:
    """Return in how many test reviews single tokens were observed: "40 of the 680 test reviews"; "" if unknown."""
    drawn = max((int(model.observed.get("reviews", 0)) for model in results.models), default=0)
    return f"{drawn:,} of the {results.row(results.winner)['reviews']:,} test reviews" if drawn else ""


def said_of_ranks(models: Sequence[ModelResults], winner: str) -> str:
    """Return how often the winner's first guess was right, and one of its first ten guesses."""
    tokens = _tokens_of(models, winner)
    if tokens is None or not len(tokens):
        return ""
    first, ten = (float((tokens["rank"] <= k).fill_null(False).mean() or 0.0) for k in (1, 10))  # type: ignore[arg-type]
    return f"The token that came is {winner}'s first guess in {first:.1%} of the places, one of ten in {ten:.1%}."


def said_of_certainty(models: Sequence[ModelResults], winner: str) -> str:
    """Return the winner's expected and actual bits per token."""
    tokens = _tokens_of(models, winner)
    finite = None if tokens is None else tokens.filter(pl.col("nats").is_finite() & pl.col("entropy").is_finite())
    if finite is None or not len(finite):
        return ""
    expected, paid = float(finite["entropy"].mean()) / LN2, float(finite["nats"].mean()) / LN2  # type: ignore[arg-type]
    verdict = "surer than it should be" if paid > expected else "less sure than it could be"
    return f"{winner} expected {expected:.3f} bits a token and needed {paid:.3f}: on the whole {verdict}."


def _tokens_of(models: Sequence[ModelResults], winner: str) -> pl.DataFrame | None:
    return next((model.tokens for model in models if model.name == winner), None)


def said_of_calibration(models: Sequence[ModelResults]) -> str:
    """Return the calibration error and temperature of each model."""
    calibrated = [model for model in models if model.observed.get("ece") is not None]
    errors = [
        f"{model.name} {model.observed['ece']:.3f}"
        + (f" (T = {model.observed['temperature']:.2f})" if model.observed.get("temperature") is not None else "")
        for model in calibrated
    ]
    return f"Expected calibration error: {', '.join(errors)}. T above 1: surer than it is right." if errors else ""


def said_of_copying(results: RunResults) -> str:
    """Return the copied share of the winner's 8-grams, that of held-out reviews, and the longest copied span."""
    audit = results.model(results.winner).audit
    share, real, longest = (audit.get(name) for name in ("copied_8", "real_copied_8", "longest_copied"))
    if share is None:
        return ""
    beside = "" if real is None else f", of those in held-out reviews {real:.1%}"
    span = "" if longest is None else f" The longest copied run has {longest:,.0f} words."
    return f"Of the 8-grams that {results.winner} wrote {share:.1%} stand in the training text{beside}.{span}"


def said_of_exposure(results: RunResults) -> str:
    """Return the highest and the mean exposure of the winner."""
    audit = results.model(results.winner).audit
    most, mean = audit.get("exposure_max"), audit.get("exposure_mean")
    if most is None:
        return ""
    also = "" if mean is None else f", {mean:.2f} on average"
    rules = results.decision.rules if results.decision else ()
    judged = [f" The gate's rule: {rule.outcome}; {rule.detail}." for rule in rules if rule.name == "exposure"]
    return f"Of {results.winner} the highest exposure of a canary is {most:.2f} bits{also}.{''.join(judged)}"
