"""Show the models, the decision and the report of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from math import isfinite
from types import SimpleNamespace
from typing import Any

from reviewlm import terminal
from reviewlm.core.config.sections.evaluation import OWN_MODEL
from reviewlm.corpus.account import WORDS, Account, Outcome
from reviewlm.terminal import cell, for_stream

STATIC_TITLE = "Models on the test reviews, the best one first"
ADAPTING_TITLE = (
    "Models that learn from a review while they read it (comparable among themselves only)"
)
BITS = "open_bits_per_byte"
LEGEND = {
    "perplexity": "as hard as a choice among this many equal tokens; lower is better",
    "bits/byte": "open bits per byte, unknown words spelt out; ±: half its interval",
    "better than": "share of its bits/byte that is saved; ≈: may be chance",
    "first guess": "how often the most probable word is right, in a sample of reviews",
}
"""What the columns of the table of models mean."""
MOST_SHOWN = 3
"""Files or findings that a line of the account names."""


def show_models(result: Mapping[str, Any]) -> None:
    """Write the tables of static and adapting models, and the floor; the report has all other figures."""
    models = sorted(result["models"], key=lambda model: (_adapts(model), _bits(model)))
    base = result.get("baseline", "")
    floor = result.get("floor")
    tables = {
        title: [model for model in models if _adapts(model) == adapts]
        for adapts, title in ((False, STATIC_TITLE), (True, ADAPTING_TITLE))
    }
    for number, (title, some) in enumerate((title, some) for title, some in tables.items() if some):
        _show_compared(some, base, title, legend=not number)

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
            f"text. Without them {shown['name']} has {cell(test[f'uncovered_{BITS}'])} bits/byte."
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
    compared = any(
        model["name"] != base for model in models
    )  # the baseline alone has nothing to be compared with
    rows = [_row_of_model(model, base if compared else "") for model in models]
    idle = {"unit"} if len({row["unit"] for row in rows}) == 1 else set()
    idle |= {"first guess"} if all(row["first guess"] is None for row in rows) else set()
    rows = [{name: value for name, value in row.items() if name not in idle} for row in rows]
    terminal.show_rows(rows, title)
    for column, meaning in LEGEND.items() if legend else ():
        if name := next((name for name in rows[0] if name.startswith(column)), ""):
            terminal.say(f"  {name}: {meaning}")


def _adapts(model: Mapping[str, Any]) -> bool:
    return bool(model.get("adaptation", "static") != "static")


def _bits(model: Mapping[str, Any]) -> float:
    bits = model["test"][BITS]
    return bits if bits is not None and isfinite(bits) else float("inf")


def _row_of_model(model: Mapping[str, Any], baseline: str) -> dict[str, Any]:
    test = model["test"]
    first = test.get("hit@1")
    return {
        "model": model["name"],
        "unit": model["unit"],
        "perplexity": test["perplexity"],
        "bits/byte": with_interval(test, BITS),
        **({f"better than {baseline}": _gain(test)} if baseline else {}),
        "first guess": None if first is None else f"{first:.1%}",
    }


def with_interval(figures: Mapping[str, Any], name: str) -> str:
    """Return a figure with half the width of its confidence interval, "1.234 ±0.012"; without it if there is none."""
    value, low, high = (figures.get(key) for key in (name, f"{name}_lo", f"{name}_hi"))
    shown = cell(value if value is None else float(value))
    return (
        shown
        if value is None or low is None or high is None
        else f"{value:.3f} ±{(high - low) / 2:.3f}"
    )


def _gain(test: Mapping[str, Any]) -> str:
    """Return the gain over the baseline: the share of its bits per byte that the model does not need."""
    gain, low, high = (test.get(name) for name in ("gain", "gain_lo", "gain_hi"))
    if not gain:
        return "–"
    maybe = "≈" if low is not None and high is not None and low <= 0 <= high else ""
    return f"{maybe}{gain:.1%}"


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
    in_use = (
        f"version {champion} of {name} is the champion"
        if champion
        else f"{name} has no champion yet"
    )
    if version in (None, champion) or result.get("same_model"):
        steps = {f"`reviewlm generate {of}--stars 2`": "write a review with it"}
        if of:
            steps["`reviewlm run --input YOUR_FILES`"] = (
                "train a separate model on your own reviews"
            )
        else:
            steps["`reviewlm serve`"] = "answer requests with it; has a page for the browser"
        steps["`reviewlm services start`"] = "compare the runs in MLflow, start runs from Prefect"
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
        terminal.say(f"MLflow, after `reviewlm services start`: {page}", whole=True)


def show_account(account: Mapping[str, Any], of: str = "") -> None:
    """Write in at most five lines what became of the records of the input; *of* are options that name it.

    Args:
        account: See `reviewlm.corpus.account.Account.to_dict`.
    """
    whole = Account.from_dict(account)
    lines = [f"Data: {whole.equation}."]
    if reasons := _counts(whole.kinds(Outcome.SET_ASIDE)):
        lines.append(f"  set aside: {reasons}: `reviewlm data quarantine show{of}` lists them")

    others = [
        f"{WORDS[outcome]}: {_counts(whole.kinds(outcome))}"
        for outcome in (Outcome.REPLACED, Outcome.COPY, Outcome.LEFT_OUT, Outcome.NOT_READ)
        if whole.count(outcome)
    ]
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
    parts = ", ".join(
        f"{name} {split['reviews']:,} ({split['words']:,} words)" for name, split in splits.items()
    )
    left = result["dataset"]["rows"] - total
    terminal.say(f"Split, without {left:,} that the data card names: {parts}.")
    for name, size in result["vocabularies"].items():
        terminal.say(
            f"Vocabulary '{name}': {size['size']:,} entries, {size['train_tokens']:,} training tokens."
        )

    terminal.say(f"Data card: {result['card']}", whole=True)
    terminal.say("Next: the same command without `--until` trains the models, the gate decides.")


def show_fitted(result: Mapping[str, Any]) -> None:
    """Show the results of a run until `train`."""
    terminal.show_rows(
        [
            {
                "model": model["name"],
                "kind": model["kind"],
                "fitted": "before" if model["reused"] else "now",
                "validation perplexity": model.get(
                    "validation_perplexity", model.get("validation/perplexity")
                ),
            }
            for model in result["models"]
        ],
        "Fitted models",
    )
    terminal.say(
        "Next: the same command with `--until evaluate` compares them; without `--until` the gate decides."
    )


def _show_steps(title: str, steps: Mapping[str, str]) -> None:
    """Write commands, given in backquotes, which are never broken, and what each is for."""
    terminal.say(title)
    commands = {terminal.typed(command).strip("`"): what for command, what in steps.items()}
    longest = max(map(len, commands))
    lines = [f"  {command:<{longest}}  {what}" for command, what in commands.items()]
    if any(for_stream(line, sys.stdout) != line for line in lines):  # too wide for the terminal
        lines = [f"  {command}\n      {what}" for command, what in commands.items()]
    terminal.say("\n".join(lines), whole=True)
