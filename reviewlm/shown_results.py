"""Show the models, the decision and the report of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from reviewlm import terminal
from reviewlm.core.services.join import MLFLOW_VARIABLE
from reviewlm.tasks.records.result_lines import (
    account_lines,
    model_notes,
    model_tables,
)
from reviewlm.terminal import for_stream


def show_models(result: Mapping[str, Any]) -> None:
    """Write the tables of static and adapting models, and the floor; the report has all other figures."""
    for table in model_tables(result):
        terminal.show_rows(table.rows, table.title)
        for line in table.legend:
            terminal.say(f"  {line}")

    wrong = "its figures leave out text or are wrong; do not use them"
    for model in result["models"]:
        if model["test"].get("below_floor"):
            terminal.show_warnings([f"{model['name']} is significantly below the floor: {wrong}"])

    for note in model_notes(result):
        terminal.say(note)


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
        next_words["prompt"],
        SimpleNamespace(
            words=words,
            rest=rest,
            typed="",
        ),
    )
    _show_next_steps(result)


def show_report(result: Mapping[str, Any]) -> None:
    """Write the path of the page with all figures, if there is one."""
    if path := result.get("report"):
        champion = result.get("champion_version")
        compared = champion and result.get("version") not in (None, champion)
        about = ", with what changed since the champion's run" if compared else ""
        terminal.say(f"Report{about}: {path}", whole=True)


def _show_next_steps(result: Mapping[str, Any]) -> None:
    """Write which version is in use and the commands to try next, or what to do with a version that was refused."""
    from reviewlm.core.config.sections.evaluation import OWN_MODEL

    name = result["registered_model"]
    version = result["version"]
    champion = result["champion_version"]
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
        steps = {f"`reviewlm generate --model {name}/{version}`": "write a review with it as it is"}
        if champion and not of:
            steps[f"`reviewlm compare {version} champion`"] = "see where it is better or worse"

        steps |= {
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
    for line in account_lines(account, of):
        terminal.say(line)


def show_prepared(result: Mapping[str, Any]) -> None:
    """Show the results of a run until `prepare`."""
    splits = {name: result["splits"][name] for name in ("train", "validation", "test")}
    parts = []
    for name, split in splits.items():
        parts.append(f"{name} {split['reviews']:,} ({split['words']:,} words)")

    terminal.say(f"Split: {', '.join(parts)}.")
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
