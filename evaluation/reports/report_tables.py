"""Build the tables of a run's report, as rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from evaluation.gate.decision import Decision, RuleOutcome
from evaluation.reports.document import Amount
from evaluation.reports.report_words import BITS, amount, with_interval
from evaluation.reports.run_record import changed_figures
from evaluation.reports.run_results import RunResults
from models.base import STATIC

Row = dict[str, Any]
VERSUS = "vs baseline"
ABOUT_MODELS = (
    "On the test reviews, best first; every token and the end of each review scored once. In brackets: {confidence} "
    "bootstrap intervals. Open bits per byte (unknown words spelt out, folded case and spaces paid for) compare all "
    "models, perplexities only models of one vocabulary; oov: unknown words, and their share of the tokens; hit@1: "
    "share of the tokens that the model ranks first, on a sample of the reviews; uncovered: without the reviews of "
    "whose words a quarter or more stand in passages of training text."
)
MODEL_COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "open bits/byte": lambda row: with_interval(row, BITS, below=True),
    "uncovered bits/byte": lambda row: amount(row.get(f"uncovered_{BITS}")),
    "over the floor": lambda row: with_interval(row, "gap", 3, below=True),
    VERSUS: lambda row: "–" if row.get("baseline") == row["model"] else _change_with_interval(row),
    "perplexity": lambda row: with_interval(row, "perplexity", below=True),
    "uncovered perplexity": lambda row: amount(row.get("uncovered_perplexity")),
    "per word": lambda row: with_interval(row, "word_perplexity", below=True),
    "oov": lambda row: "–" if row.get("oov") is None else f"{row['oov']:,}\n({_share(row.get('oov_share'))})",
    "hit@1": lambda row: _share(row.get("hit@1")),
    "impossible": lambda row: f"{row['impossible']:,} reviews" if row.get("impossible") else "–",
}
RESULT_COLUMNS = ("open bits/byte", VERSUS, "perplexity", "hit@1")
NEAR = 0.1
"""Share of its limit by which a rule passes narrowly."""
COST_COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "parameters": lambda row: amount(row.get("parameters")),
    "MB": lambda row: amount(row.get("megabytes"), 3),
    "fitted in s": lambda row: amount(row.get("fit_seconds"), 3),
    "trained tokens/s": lambda row: amount(row.get("trained_tokens_per_second"), 3),
    "median update, ms": lambda row: _milliseconds(row.get("step_seconds_p50")),
    "99 % of updates within, ms": lambda row: _milliseconds(row.get("step_seconds_p99")),
    "peak MB": lambda row: amount(row.get("peak_memory_megabytes"), 3),
    "peak GPU MB": lambda row: amount(row.get("peak_gpu_memory_megabytes"), 3),
    "of peak speed": lambda row: _share(row.get("product_peak_share")),
    "scored tokens/s": lambda row: amount(row.get("tokens_per_second"), 3),
}
"""Columns of `models` and `costs`, in this order; a column without a figure for any model is left out."""
AUDITED = {
    "longest_copied": "longest copied run of words",
    "private_patterns": "personal data (patterns)",
    "canaries_written": "texts with a canary in them",
    "exposure_max": "highest exposure of a canary in bits",
    "exposure_mean": "mean exposure in bits",
    "exposure_once": "mean exposure of canaries planted once in bits",
    "copied_passages": "passages found in training",
}


def models(results: RunResults, adapting: bool | None = None) -> list[Row]:
    """Return the comparison table, each figure with its interval, with figures that were measured on a sample only.

    Args:
        adapting: True for adaptive models only, False for static models only, None for all.
    """
    observed = {model.name: model.observed for model in results.models}
    rows = [{**observed.get(row["model"], {}), **row} for row in results.table.to_dicts()]
    chosen = [row for row in rows if adapting is None or _adapts(row) == adapting]
    return _written(chosen, MODEL_COLUMNS)


def about_adapting(results: RunResults) -> str:
    """Return the text above the table of the adaptive models."""
    base = next((row["baseline"] for row in results.table.to_dicts() if _adapts(row) and row.get("baseline")), "")
    gains = f"their baseline is {base}, which adapts too" if base else (
        "they have no baseline, since no variant of it that adapts is in this run"
    )  # fmt: skip
    return (
        "These models learn from the very review that they are measured on, each time from the fresh state: their "
        f"figures answer another question than those above, and do not compare with them; {gains}."
    )


def _adapts(row: Row) -> bool:
    return bool(row.get("adaptation", STATIC) != STATIC)


def costs(results: RunResults) -> list[Row]:
    """Return size and time of each model; an empty list if none was measured."""
    rows = _written(results.table.to_dicts(), COST_COLUMNS)
    return rows if rows and len(rows[0]) > 1 else []


def _written(rows: list[Row], columns: Mapping[str, Callable[[Row], str]]) -> list[Row]:
    shown = {head: [write(row) for row in rows] for head, write in columns.items()}
    heads = [head for head, cells in shown.items() if any(cell != "–" for cell in cells)]
    return [
        {"model": _named(row), **{head: Amount(shown[head][place]) for head in heads}} for place, row in enumerate(rows)
    ]


def _milliseconds(seconds: float | None) -> str:
    return amount(None if seconds is None else 1000 * seconds, 3)


def _named(row: Row) -> str:
    """Return the model's name with its unit, and how it adapts to the text that it is measured on."""
    unit = f" ({row['unit']})" if row.get("unit") else ""
    way = row.get("adaptation", STATIC)
    return f"{row['model']}{unit}" + ("" if way == STATIC else f", {way}")


def result(results: RunResults) -> list[Row]:
    """Return the few figures that most readers want, the models that the winner can be compared with first."""
    adapts = _adapts(results.row(results.winner))
    rows = models(results, adapting=adapts) + models(results, adapting=not adapts)
    return [{name: row[name] for name in ("model", *RESULT_COLUMNS) if name in row} for row in rows]


def about_result(results: RunResults) -> str:
    """Return the caption of `result`."""
    rows = results.table.to_dicts()
    compared = ((row["model"], row.get("baseline") or results.baseline) for row in rows)
    bases = ", ".join(dict.fromkeys(base for name, base in compared if base and base != name))
    against = f"; {VERSUS}: change of open bits/byte against {bases}, negative is better" if bases else ""
    both = len({_adapts(row) for row in rows}) > 1
    apart = "; models that adapt to what they read compare among themselves only" if both else ""
    several = len({row["vocabulary"] for row in rows}) > 1
    within = "; perplexities compare models of one vocabulary only" if several else ""
    return f"{rows[0]['reviews']:,} test reviews, best first{against}{within}{apart}"


def rules(decision: Decision, close: bool = False) -> list[Row]:
    """Return one row per rule of the gate, failed rules first; with *close*, only those that failed or nearly did."""
    order = {False: 0, True: 1, None: 2}
    named = zip(decision.rules, decision.rows(), strict=True)
    chosen = [pair for pair in named if not close or pair[0].passed is False or _is_near(pair[0])]
    rows = [row for _, row in sorted(chosen, key=lambda pair: order[pair[0].passed])]
    return [
        {"rule": name, "outcome": outcome, "value": Amount(value), "limit": Amount(limit), "why": why}
        for name, outcome, value, limit, why in rows
    ]


def count_of_rules(decision: Decision) -> str:
    """Return how many rules there are, by outcome: "All 25 rules: 14 passed, 11 not applicable"."""
    counts = Counter(rule.outcome for rule in decision.rules)
    return f"All {len(decision.rules)} rules: {', '.join(f'{count} {outcome}' for outcome, count in counts.items())}"


def _is_near(rule: RuleOutcome) -> bool:
    """Return whether a rule passed by less than `NEAR` of its limit; a limit of 0 is one of shares."""
    if not rule.passed or rule.value is None or rule.limit is None:
        return False
    return bool(rule.value or rule.limit) and abs(rule.value - rule.limit) <= NEAR * (abs(rule.limit) or 0.1)


def changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Row]:
    """Return one row per figure of two records (`evaluation.reports.run_record`), with its change."""
    return [
        {"figure": name, "then": Amount(amount(before)), "now": Amount(amount(after)),
         "change": Amount(f"{(after - before) / abs(before):+.1%}" if before else "–")}
        for name, before, after in changed_figures(then, now)
    ]  # fmt: skip


def audit(results: RunResults) -> list[Row]:
    """Return one row per figure of the audit: held-out reviews, then each model, the winner first."""
    audited = sorted((model for model in results.models if model.audit), key=lambda one: one.name != results.winner)
    copied = sorted({name for model in audited for name in model.audit
                     if name.startswith("copied_") and name.removeprefix("copied_").isdigit()},
                    key=lambda name: int(name.removeprefix("copied_")))  # fmt: skip
    names = {name: f"{name.removeprefix('copied_')}-grams found in training" for name in copied} | AUDITED
    rows = []
    for name, words in names.items():
        values = {model.name: model.audit.get(name) for model in audited}
        if all(value is None for value in values.values()):
            continue
        real = next(
            (model.audit[f"real_{name}"] for model in audited if model.audit.get(f"real_{name}") is not None), None
        )
        cells = {model: Amount(_figure(name, value)) for model, value in values.items()}
        good = "as real reviews" if name in (*copied, "longest_copied") else "lower"
        rows.append({"figure": words, "better": good, "real reviews": Amount(_figure(name, real)), **cells})
    return rows


def _figure(name: str, value: Any) -> str:
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


def _change_with_interval(row: Row) -> str:
    """Return the gain as a change of bits, as the terminal has it: negative is better; its interval is below it."""
    low, high = row.get("gain_lo"), row.get("gain_hi")
    span = "" if low is None or high is None else f"\n({_change(high)} to {_change(low)})"
    return _change(row.get("gain")) + span


def _change(gain: float | None) -> str:
    return "–" if gain is None or math.isnan(gain) else f"{-gain:+.2%}"


def _share(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2%}"
