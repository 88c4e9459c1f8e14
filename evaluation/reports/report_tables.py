"""Build the tables of a run's report, as rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from evaluation.gate.decision import Decision
from evaluation.reports.document import Amount
from evaluation.reports.report_words import BITS, amount, with_interval
from evaluation.reports.run_results import RunResults
from models.base import STATIC

Row = dict[str, Any]
Columns = Mapping[str, Callable[[Row], str]]
BASELINE = "vs baseline"


def _share(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.1%}"


def _change(row: Row) -> str:
    """Return the gain as a change of bits, as the terminal has it: negative is better."""
    gain, low, high = row.get("gain"), row.get("gain_lo"), row.get("gain_hi")
    if gain is None or row.get("baseline") == row["model"]:
        return "–"
    return f"{-gain:+.1%}" + ("" if low is None or high is None else f" ±{(high - low) / 2:.1%}")


def _thousandths(value: float | None) -> str:
    return amount(None if value is None else 1000 * value, 3)


ANSWER: Columns = {
    "bits/byte": lambda row: with_interval(row, BITS),
    BASELINE: _change,
    "perplexity": lambda row: amount(row.get("perplexity")),
    "first guess": lambda row: _share(row.get("hit@1")),
    "MB": lambda row: amount(row.get("megabytes"), 3),
}
MORE: Columns = {
    "bits/byte over the floor": lambda row: with_interval(row, "gap", 3),
    "perplexity per word": lambda row: with_interval(row, "word_perplexity"),
    "unknown words": lambda row: f"{row['oov']:,} ({_share(row.get('oov_share'))})" if row.get("oov") else "–",
    "impossible reviews": lambda row: f"{row['impossible']:,}" if row.get("impossible") else "–",
    "uncovered bits/byte": lambda row: amount(row.get(f"uncovered_{BITS}")),
    "uncovered perplexity": lambda row: amount(row.get("uncovered_perplexity")),
}
COSTS: Columns = {
    "parameters": lambda row: amount(row.get("parameters")),
    "fitted in s": lambda row: amount(row.get("fit_seconds"), 3),
    "trained tokens/s": lambda row: amount(row.get("trained_tokens_per_second"), 3),
    "median update in ms": lambda row: _thousandths(row.get("step_seconds_p50")),
    "peak MB": lambda row: amount(row.get("peak_memory_megabytes"), 3),
    "peak GPU MB": lambda row: amount(row.get("peak_gpu_memory_megabytes"), 3),
    "scored tokens/s": lambda row: amount(row.get("tokens_per_second"), 3),
}
"""Columns of the tables of models; a column without a figure for any model is left out."""
ABOUT_MORE = (
    "The floor: what the grammar that wrote the reviews needs itself. Uncovered: without the reviews of whose words a "
    "quarter or more stand in passages of training text."
)
ABOUT_COSTS = "Each time was measured once, so small differences mean nothing."
AUDITED = {
    "longest_copied": "longest copied run of words",
    "private_patterns": "personal data (patterns)",
    "canaries_written": "texts with a canary in them",
    "exposure_max": "highest exposure of a canary in bits",
    "exposure_mean": "mean exposure in bits",
    "exposure_once": "mean exposure of canaries planted once in bits",
    "copied_passages": "passages found in training",
}


def models(results: RunResults, columns: Columns, adapting: bool | None = None) -> list[Row]:
    """Return a table of the models, best first, with figures that were measured on a sample only.

    Args:
        columns: `ANSWER`, `MORE` or `COSTS`.
        adapting: True for adaptive models only, False for static models only, None for all.

    Returns:
        An empty list if no model has any of the figures.
    """
    observed = {model.name: model.observed for model in results.models}
    rows = [{**observed.get(row["model"], {}), **row} for row in results.table.to_dicts()]
    rows = [row for row in rows if adapting is None or adapts(row) == adapting]
    cells = {head: [write(row) for row in rows] for head, write in columns.items()}
    heads = [head for head, column in cells.items() if any(cell != "–" for cell in column)]
    units = {row.get("unit") for row in results.table.to_dicts()}
    names = [row["model"] + (f" ({row['unit']})" if len(units) > 1 and row.get("unit") else "") for row in rows]
    return [
        {"model": name, **{head: Amount(cells[head][place]) for head in heads}} for place, name in enumerate(names)
    ] if heads else []  # fmt: skip


def adapts(row: Mapping[str, Any]) -> bool:
    """Return whether a row is of a model that adapts to what it reads."""
    return bool(row.get("adaptation", STATIC) != STATIC)


def about_models(results: RunResults) -> str:
    """Return the caption of the first table: what its columns mean."""
    rows = results.table.to_dicts()
    several = len({row["vocabulary"] for row in rows}) > 1
    return (
        f"{rows[0]['reviews']:,} test reviews, best model first. Bits per byte: unknown words spelt out, so they "
        f"compare all models; lower is better. ±: half of the {results.confidence:.0%} interval."
        + f" {BASELINE}: change of bits per byte against {results.baseline}." * bool(results.baseline)
        + " Perplexities compare models of one vocabulary only." * several
    )


def rules(decision: Decision) -> list[Row]:
    """Return one row per rule of the gate: failed rules, those that passed, those that do not apply."""
    order = {False: 0, True: 1, None: 2}
    named = sorted(zip(decision.rules, decision.rows(), strict=True), key=lambda pair: order[pair[0].passed])
    return [
        {"rule": name, "outcome": outcome, "value": Amount(value), "limit": Amount(limit), "why": why}
        for _, (name, outcome, value, limit, why) in named
    ]


def count_of_rules(decision: Decision) -> str:
    """Return how many rules there are, by outcome: "25 rules: 14 passed, 11 not applicable"."""
    counts = Counter(row["outcome"] for row in rules(decision))
    return f"{len(decision.rules)} rules: {', '.join(f'{count} {outcome}' for outcome, count in counts.items())}."


def audit(results: RunResults) -> list[Row]:
    """Return one row per figure of the audit: held-out reviews, then each model, the winner first."""
    audited = sorted((model for model in results.models if model.audit), key=lambda one: one.name != results.winner)
    copied = {f"copied_{n}": f"{n}-grams found in training" for n in (4, 8)}
    rows = []
    for name, words in {**copied, **AUDITED}.items():
        values = {model.name: model.audit.get(name) for model in audited}
        if any(value is not None for value in values.values()):
            real = next((model.audit.get(f"real_{name}") for model in audited), None)
            good = "as real reviews" if name in (*copied, "longest_copied") else "lower"
            cells = {who: Amount(_audited(name, value)) for who, value in {"real reviews": real, **values}.items()}
            rows.append({"figure": words, "better": good, **cells})
    return rows


def _audited(name: str, value: Any) -> str:
    if not isinstance(value, int | float) or math.isnan(value):
        return "–"
    if name.startswith("copied_"):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def digests(results: RunResults) -> dict[str, str]:
    """Return the digests of data and models, which identify them in the store and the lineage."""
    of_models = {f"{model.name}: {what}": digest for model in results.models for what, digest in model.digests.items()}
    return {**results.digests, **of_models}


def policies(results: RunResults) -> list[Row]:
    """Return the policies of the figures; if models differ, one row per variant with its models."""
    rows = []
    for name in dict.fromkeys(name for model in results.models for name in model.policies):
        models_of: dict[str, list[str]] = {}
        for model in results.models:
            if name in model.policies:
                models_of.setdefault(model.policies[name], []).append(model.name)
        for text, models_of_it in models_of.items():
            rows.append({"what": name, "is": text, "of": "all" if len(models_of) == 1 else ", ".join(models_of_it)})
    return rows
