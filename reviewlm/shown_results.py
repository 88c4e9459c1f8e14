"""Show the models, the decision and the report of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from math import isfinite
from types import SimpleNamespace
from typing import Any

from reviewlm import terminal
from reviewlm.core.config.sections.evaluation import OWN_MODEL
from reviewlm.core.figures import (
    BASELINE_GAIN,
    BITS,
    NONE,
    TERMINAL,
    Amount,
    ModelFigure,
    figures_at,
)
from reviewlm.core.services.join import MLFLOW_VARIABLE
from reviewlm.corpus.account import WORDS, Account, Outcome
from reviewlm.terminal import for_stream

STATIC_TITLE = "Models on the test reviews, the best one first"
ADAPTING_TITLE = (
    "Models that learn from a review while they read it (comparable among themselves only)"
)
PLUS_MINUS = "±: half of the interval of these reviews; the gate decides by a wider, cautious one"
MOST_SHOWN = 3
"""Files or findings that a line of the account names."""


def show_models(result: Mapping[str, Any]) -> None:
    """Write the tables of static and adapting models, and the floor; the report has all other figures."""
    models = sorted(result["models"], key=lambda model: (_adapts(model), _bits(model)))
    base = result.get("baseline", "")
    floor = result.get("floor")
    static = [model for model in models if not _adapts(model)]
    adapting = [model for model in models if _adapts(model)]
    if static:
        _show_compared(static, base, STATIC_TITLE, legend=True)

    if adapting:
        _show_compared(adapting, base, ADAPTING_TITLE, legend=not static)

    for model in models:
        if impossible := model["test"].get("impossible"):
            reviews = f"{impossible} of {model['test']['reviews']} test reviews"
            terminal.say(
                f"{model['name']} calls {reviews} impossible (probability 0): its perplexity is infinite."
            )
        if model["test"].get("below_floor"):
            wrong = "its figures leave out text or are wrong; do not use them"
            terminal.show_warnings([f"{model['name']} is significantly below the floor: {wrong}"])

    named = {model["name"]: model for model in models}
    shown = named.get(result.get("challenger", ""), models[0] if models else {"test": {}})
    if covered := (test := shown["test"]).get("covered_reviews"):
        terminal.say(
            f"{covered:,} of {test['reviews']:,} test reviews share a quarter or more of their words with training "
            f"text. Without them {shown['name']} has {BITS.number(test[f'uncovered_{BITS.name}'])} bits/byte."
        )

    if floor:
        terminal.say(f"Floor: {floor['bits_per_byte']:.4f} bits/byte. {floor['statement']}")

    if hints := result.get("hints"):
        terminal.say(f"Hint: {' '.join(hints)}")


def _show_compared(
    models: Sequence[Mapping[str, Any]], baseline: str, title: str, legend: bool
) -> None:
    """Write one table of comparable models, with their own baseline, and with *legend* what its columns mean."""
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
    terminal.show_rows(rows, title)
    if not legend:
        return

    for figure in shown:
        terminal.say(f"  {figure.heading(base)}: {figure.meaning}")

    terminal.say(f"  {PLUS_MINUS}")


def _adapts(model: Mapping[str, Any]) -> bool:
    return bool(model.get("adaptation", "static") != "static")


def _bits(model: Mapping[str, Any]) -> float:
    bits = model["test"][BITS.name]
    if bits is not None and isfinite(bits):
        return bits
    return float("inf")


def _row_of_model(
    model: Mapping[str, Any], figures: Sequence[ModelFigure], baseline: str, *, with_unit: bool
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


def with_interval(figures: Mapping[str, Any], name: str) -> str:
    """Return a figure with half the width of its confidence interval, "1.234 ±0.012"; without it if there is none."""
    return ModelFigure(name, name, decimals=3, interval=True).text(figures)


def show_run(result: Mapping[str, Any]) -> None:
    """Write the result of a whole run, without its report."""
    for sentence in result.get("plan", {}).get("verdict", ()):
        terminal.say(sentence)

    show_models(result)
    for sentence in result.get("passed_over", ()):
        terminal.say(f"Passed over: {sentence}.")

    verdict = "promoted" if result["promoted"] else "not promoted"
    terminal.say(f"The gate has {verdict} '{result['challenger']}': {result['reason']}.")
    for review in result["written"]["reviews"]:
        terminal.show_review(**review)

    next_words = result["written"]["next_words"]
    words = [(row["word"], row["probability"]) for row in next_words["words"]]
    rest = 1 - sum(probability for _, probability in words)
    terminal.show_suggestions(
        next_words["prompt"], SimpleNamespace(words=words, rest=rest, typed="")
    )
    _show_next_steps(result)


def show_report(result: Mapping[str, Any]) -> None:
    """Write the path of the page with all figures, if there is one."""
    if path := result.get("report"):
        terminal.say(f"Report: {path}", whole=True)


def _show_next_steps(result: Mapping[str, Any]) -> None:
    """Write which version is in use and the commands to try next, or what to do with a version that was refused."""
    name, version, champion = (
        result[key] for key in ("registered_model", "version", "champion_version")
    )
    of = "" if name == OWN_MODEL else f"--model {name} "
    if champion:
        in_use = f"version {champion} of {name} is the champion"
    else:
        in_use = f"{name} has no champion yet"

    if version in (None, champion) or result.get("same_model"):
        steps = {f"`reviewlm generate {of}--stars 2`": "write a review with it"}
        if of:
            steps["`reviewlm run --input YOUR_FILES`"] = (
                "train a separate model on your own reviews"
            )
        else:
            steps["`reviewlm serve`"] = "answer requests with it; has a page for the browser"
        if MLFLOW_VARIABLE not in os.environ:
            steps["`reviewlm services start`"] = (
                "compare the runs in MLflow, start runs from Prefect"
            )
        _show_steps(f"\nIn use: {in_use}. Next:", steps)
    else:
        steps = {
            f"`reviewlm generate --model {name}/{version}`": "write a review with it as it is",
            f"`reviewlm promote --model {name} --version {version} --force --why TEXT`": "make it champion anyway",
        }
        _show_steps(
            f"\nVersion {version} is registered, but not in use; {in_use}. Next:",
            steps,
        )

    if page := result.get("mlflow_page"):
        when = "" if MLFLOW_VARIABLE in os.environ else ", after `reviewlm services start`"
        terminal.say(f"MLflow{when}: {page}", whole=True)


def show_account(account: Mapping[str, Any], of: str = "") -> None:
    """Write in at most five lines what became of the records of the input; *of* are options that name it.

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

    lines += [f"  {'; '.join(others)}"] * bool(others)
    files = sorted(whole.files(), key=lambda row: row["used"] - row["records"])
    if len(files) > 1:
        shown = [f"{row['file']} {row['used']:,} of {row['records']:,}" for row in files]
        lines.append(f"  used of {len(files):,} files: {_first(shown, '; ')}")

    if odd := [f"{entry.file} {entry.kind} {entry.count:,}".strip() for entry in whole.odd]:
        lines.append(f"  look at (warnings, data card): {_first(odd, '; ')}")

    for line in lines:
        terminal.say(line)


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())


def _first(texts: Sequence[str], between: str) -> str:
    more = len(texts) - MOST_SHOWN
    return between.join(texts[:MOST_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def show_prepared(result: Mapping[str, Any]) -> None:
    """Show the results of a run until `prepare`."""
    splits = {name: result["splits"][name] for name in ("train", "validation", "test")}
    total = sum(split["reviews"] for split in splits.values())
    parts = []
    for name, split in splits.items():
        parts.append(f"{name} {split['reviews']:,} ({split['words']:,} words)")

    left = result["dataset"]["rows"] - total
    terminal.say(f"Split, without {left:,} that the data card names: {', '.join(parts)}.")
    for name, size in result["vocabularies"].items():
        terminal.say(
            f"Vocabulary '{name}': {size['size']:,} entries, {size['train_tokens']:,} training tokens."
        )

    terminal.say(f"Data card: {result['card']}", whole=True)
    terminal.say("Next: the same command without `--until` trains the models, the gate decides.")


def show_fitted(result: Mapping[str, Any]) -> None:
    """Show the results of a run until `train`."""
    rows = []
    for model in result["models"]:
        perplexity = model.get("validation_perplexity", model.get("validation/perplexity"))
        row = {
            "model": model["name"],
            "kind": model["kind"],
            "fitted": "before" if model["reused"] else "now",
            "validation perplexity": perplexity,
        }
        rows.append(row)

    terminal.show_rows(rows, "Fitted models")
    terminal.say(
        "Next: the same command with `--until evaluate` compares them; without `--until` the gate decides."
    )


def _show_steps(title: str, steps: Mapping[str, str]) -> None:
    """Write commands, given in backquotes, which are never broken, and what each is for."""
    terminal.say(title)
    commands = {terminal.as_typed(command).strip("`"): what for command, what in steps.items()}
    longest = max(map(len, commands))
    lines = [f"  {command:<{longest}}  {what}" for command, what in commands.items()]
    if any(for_stream(line, sys.stdout) != line for line in lines):  # too wide for the terminal
        lines = [f"  {command}\n      {what}" for command, what in commands.items()]
    terminal.say("\n".join(lines), whole=True)
