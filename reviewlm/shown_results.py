"""Show the models, the decision and the report of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from math import isfinite
from types import SimpleNamespace
from typing import Any

from core.config.sections.evaluation import OWN_MODEL
from reviewlm import terminal
from reviewlm.terminal import cell, for_stream

STATIC_TITLE = "Test reviews, every token and the end of each review scored once (lower is better)"
ADAPTING_TITLE = "Models that adapt to the review they are measured on: do not compare them with the table above"
BITS = "open_bits_per_byte"
SPARE = ("oov", "unit", "hit@1", "per word", "over the floor")
"""Columns of the table of models that a narrow terminal does without, the first ones first."""


def show_models(result: Mapping[str, Any]) -> None:
    """Write the tables of static and adapting models, and the floor; the report has the slices."""
    models = sorted(result["models"], key=lambda model: (_adapts(model), _bits(model)))
    base, floor = result.get("baseline", ""), result.get("floor")
    _show_compared([model for model in models if not _adapts(model)], base, floor, STATIC_TITLE)
    if adapting := [model for model in models if _adapts(model)]:
        _show_compared(adapting, base, floor, ADAPTING_TITLE)
    for model in models:
        if impossible := model["test"].get("impossible"):
            reviews = f"{impossible} of {model['test']['reviews']} test reviews"
            terminal.say(f"{model['name']} calls {reviews} impossible (probability 0): its perplexity is infinite.")
        if model["test"].get("below_floor"):
            wrong = "its figures leave out text or are wrong; do not use them"
            terminal.show_warnings([f"{model['name']} is significantly below the floor: {wrong}"])
    if models and (covered := models[0]["test"].get("covered_reviews")):
        _say_uncovered(models[0], covered)
    if floor:
        terminal.say(f"Floor: {floor['bits_per_byte']:.4f} bits/byte. {floor['statement']}")
    if hints := result.get("hints"):
        terminal.say(f"Hint: {' '.join(hints)}")


def _say_uncovered(model: Mapping[str, Any], covered: int) -> None:
    """Write the figures of a model with and without the reviews that training text covers in part."""
    test = model["test"]
    both = ((BITS, "open bits/byte"), ("perplexity", "perplexity"))
    pairs = [f"{cell(test[f'uncovered_{name}'])} {unit} instead of {cell(test[name])}" for name, unit in both]
    of = f"{covered:,} of {test['reviews']:,} test reviews, of whose words a quarter or more stand in training text"
    terminal.say(f"Without {of}, {model['name']} has {' and '.join(pairs)}.")


def _show_compared(models: Sequence[Mapping[str, Any]], baseline: str, floor: Any, title: str) -> None:
    """Write one table of comparable models, with their own baseline."""
    if not models:
        return
    base = models[0].get("baseline", baseline)
    compared = any(model["name"] != base for model in models)  # the baseline alone has nothing to be compared with
    rows = [_row_of_model(model, base, floor, compared) for model in models]
    several = len({model["unit"] for model in models}) > 1
    terminal.show_rows(rows, title, [name for name in SPARE if not (several and name == "unit")])
    if any("±" in str(value) for row in rows for value in row.values()):
        change = f"; vs {base}: change of open bits/byte, negative is better" if base and compared else ""
        luck = ", ≈ if it may be chance" if any("≈" in str(value) for row in rows for value in row.values()) else ""
        hits = "; hit@1: on a sample of the reviews" if any(row["hit@1"] for row in rows) else ""
        terminal.say(f"±: half of the confidence interval over reviews{change}{luck}{hits}")
    if baseline and not base:
        kind = "variant of it that adapts" if _adapts(models[0]) else "static variant of it"
        terminal.say(f"No baseline for this table: '{baseline}' cannot be compared with it, and the run has no {kind}.")


def _adapts(model: Mapping[str, Any]) -> bool:
    return bool(model.get("adaptation", "static") != "static")


def _bits(model: Mapping[str, Any]) -> float:
    bits = model["test"][BITS]
    return bits if bits is not None and isfinite(bits) else float("inf")


def _row_of_model(model: Mapping[str, Any], baseline: str, floor: Any, compared: bool) -> dict[str, Any]:
    test = model["test"]
    row = {
        "model": model["name"], "unit": model["unit"], "perplexity": test["perplexity"],
        "per word": test["word_perplexity"], "open bits/byte": with_interval(test, "open_bits_per_byte"),
    }
    if floor:
        row["over the floor"] = with_interval(test, "gap")
    if baseline and compared:
        row[f"vs {baseline}"] = _change(test)
    return {**row, "hit@1": None if test.get("hit@1") is None else f"{test['hit@1']:.3f}", "oov": test.get("oov")}


def with_interval(figures: Mapping[str, Any], name: str) -> str:
    """Return a figure with half the width of its confidence interval, "1.234 ±0.012"; without it if there is none."""
    value, low, high = (figures.get(key) for key in (name, f"{name}_lo", f"{name}_hi"))
    shown = cell(value if value is None else float(value))
    return shown if value is None or low is None or high is None else f"{value:.3f} ±{(high - low) / 2:.3f}"


def _change(test: Mapping[str, Any]) -> str:
    """Return the gain over the baseline as a change of bits per byte: negative is better."""
    gain, low, high = (test.get(name) for name in ("gain", "gain_lo", "gain_hi"))
    if not gain:
        return "–"
    maybe = "≈" if low is not None and high is not None and low <= 0 <= high else ""
    return f"{maybe}{-gain:+.1%}"


def show_run(result: Mapping[str, Any]) -> None:
    """Write the result of a whole run, without its report."""
    show_models(result)
    verdict = "promoted to @champion" if result["promoted"] else "not promoted"
    if plan := result.get("plan"):
        _say_plan(plan)
    terminal.say(f"Challenger '{result['challenger']}' {verdict}: {result['reason']}")
    for review in result["written"]["reviews"]:
        terminal.show_review(review["stars"], review["text"])
    next_words = result["written"]["next_words"]
    words = [(row["word"], row["probability"]) for row in next_words["words"]]
    rest = 1 - sum(probability for _, probability in words)
    terminal.show_suggestions(next_words["prompt"], SimpleNamespace(words=words, rest=rest, typed=""))
    champion = f"Champion: version {number}." if (number := result["champion_version"]) else "There is no champion yet."
    terminal.say(f"\n{champion} MLflow run: {result['mlflow_run_id']}")
    if page := result.get("mlflow_page"):
        terminal.say(f"Page of the run, after `make ui`: {page}", whole=True)
    if (version := result["version"] or number) is not None:
        _show_next_steps(result["registered_model"], version, version == number)


def _say_plan(plan: Mapping[str, Any]) -> None:
    """Write what was expected of a run with a time budget, and what it reached."""
    expected, reached = plan["expected"], plan["reached"]
    inside = "as expected" if reached["inside"] else "not as expected"
    range_bits = f", {inside} ({expected['low']:.3f} to {expected['high']:.3f})"
    if expected["low"] == expected["high"]:  # only the n-gram model, whose figure was measured and not expected
        range_bits = ""
    terminal.say(
        f"Plan: {reached['minutes']:.1f} of {plan['minutes']:g} min. On validation {reached['bits']:.3f} open "
        f"bits/byte{range_bits}."
        + (f" A network was left out: it needs --minutes {plan['needs']} on this machine now." if plan["needs"] else "")
    )


def show_report(result: Mapping[str, Any]) -> None:
    """Write the path of the page with all figures, if there is one."""
    if path := result.get("report"):
        terminal.say(f"Report: {path}", whole=True)


def _show_next_steps(name: str, version: int, is_champion: bool) -> None:
    """Write the commands to try next, or what to do with a version that the gate refused."""
    own = name == OWN_MODEL
    of = "" if own else f"--model {name} "
    if not is_champion:
        _show_steps(f"\nThe model is registered, but not in use: models:/{name}/{version}. Next:", {
            f".venv/bin/reviewlm generate --model {name}/{version}": "write a review with it as it is",
            f".venv/bin/reviewlm promote {of}--version {version} --force --why TEXT": "make it champion anyway",
        })  # fmt: skip
        return
    _show_steps(f"\nThe model is registered: models:/{name}@champion is version {version}. Next:", {
        "make ui": "compare the runs in MLflow, start runs from Prefect",
        f".venv/bin/reviewlm generate {of}--stars 2": "write a review with this champion",
        **({".venv/bin/reviewlm serve": "answer requests with it; has a page for the browser"} if own else
           {".venv/bin/reviewlm run --input YOUR_FILES": "train a separate model on your own reviews"}),
    })  # fmt: skip


def _show_steps(title: str, steps: Mapping[str, str]) -> None:
    """Write commands, which are never broken, and what each is for."""
    terminal.say(title)
    longest = max(map(len, steps))
    lines = [f"  {command:<{longest}}  {what}" for command, what in steps.items()]
    if any(for_stream(line, sys.stdout) != line for line in lines):  # too wide for the terminal
        lines = [f"  {command}\n      {what}" for command, what in steps.items()]
    terminal.say("\n".join(lines), whole=True)
