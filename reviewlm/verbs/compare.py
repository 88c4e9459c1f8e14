"""Define the command that compares two models."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from reviewlm import shell_words, terminal
from reviewlm.core.figures import BITS, FIGURE, NONE, Amount
from reviewlm.core.services.join import MLFLOW_VARIABLE
from reviewlm.flow_runs import (
    require_data_of,
    require_versions_or_models,
    run_version_flow,
    settings_of_compared,
)
from reviewlm.options import Json, Set, Verbose, VersionInput, VersionPreset

MODEL = "Number or alias of a registered version, or the name of a fitted model."


def compare(
    first: Annotated[str, typer.Argument(help=MODEL, autocompletion=shell_words.models)],
    second: Annotated[str, typer.Argument(help=MODEL, autocompletion=shell_words.models)],
    input: VersionInput = None,
    preset: VersionPreset = "",
    set: Set = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="Also show reviews that both wrote from one seed.")
    ] = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Compare two models on the same test reviews.

    Figures, slices, cost, and the verdict.

    Without --input: the test reviews of the newer version, or of the champion if both are names of its run's models.

    \b
    Examples:
      reviewlm compare champion kn5
      reviewlm compare lstm gru
      reviewlm compare champion previous --samples
      reviewlm compare 3 4 --json
    """
    chosen = settings_of_compared([first, second], preset, input, set)
    require_versions_or_models(chosen, [first, second])
    require_data_of(chosen)
    result = run_version_flow(
        "compare",
        chosen,
        preset,
        input,
        set or [],
        first=first,
        second=second,
    )
    _show(result, samples)
    terminal.last_line(result, json)


def _show(result: dict[str, Any], samples: bool) -> None:
    """Show how two models compare: figures, slices, costs, samples if asked for, and the verdict."""
    from reviewlm.evaluation.statistics.paired import TITLES
    from reviewlm.evaluation.statistics.slices import dimension_name

    terminal.say(
        f"A: {result['a']}\nB: {result['b']}\nScored on the same {result['reviews']:,} test reviews."
    )
    for note in result["notes"]:
        terminal.say(f"Note: {note}")

    shown = [row for row in result["figures"] if row["figure"] in _shown_figures(result)]
    terminal.show_rows(
        [
            {
                "figure": row["figure"],
                "A": row["A"],
                "B": row["B"],
            }
            for row in shown
        ],
        f"Lower is better; {BITS.words} decide",
    )
    slices = []
    for row in result["slices"]:
        dimension = dimension_name(row["dimension"], row["slice"])
        figures = {name: row[name] for name in ("slice", "reviews", "A", "B")}
        gain = {"gain": _gain(row), "verdict": row["verdict"]}
        slices.append(
            {
                "dimension": dimension,
                **figures,
                **gain,
            }
        )

    if slices:
        sure = (
            f"with ordinary {result['confidence']:.0%} intervals that hold for all slices together"
        )
        terminal.show_rows(slices, f"Slices, in {BITS.words}, {sure}")
        terminal.say(
            "The verdict's interval is wider: kinds of reviews that are missing here may be worse."
        )
    else:
        terminal.say("No slice has enough test reviews (evaluation.min_slice_reviews).")

    costs = []
    for row in result["costs"]:
        figure = FIGURE.get(row["cost"])
        if figure is None:  # seconds, which the speed says again
            continue

        costs.append(
            {
                "cost": figure.words,
                "A": Amount(figure.number(row["A"])),
                "B": Amount(figure.number(row["B"])),
            }
        )

    terminal.show_rows(costs, TITLES["costs"])
    for sample in result["samples"] if samples else ():
        for letter in ("A", "B"):
            terminal.say(f"\n{letter} writes:")
            terminal.show_review(sample["stars"], sample[letter])

    terminal.say(f"\nAll figures, as a document: {result['markdown']}", whole=True)
    when = "" if MLFLOW_VARIABLE in os.environ else ", after `reviewlm services start`"
    terminal.say(f"In MLflow{when}: {result['mlflow_page']}", whole=True)
    terminal.say(f"Verdict: {result['verdict']}.")


def _shown_figures(result: dict[str, Any]) -> tuple[str, ...]:
    """Return the figures to show: the one that decides, and the best known one that compares these models."""
    measured = {row["figure"] for row in result["figures"]}
    other = "perplexity" if "perplexity" in measured else FIGURE["word_perplexity"].words
    return BITS.words, other


def _gain(row: dict[str, Any]) -> str:
    """Return which model saves which share of the other's bits, with the interval: "B 2.1% (1.0% to 3.2%)"."""
    if row["gain"] is None:
        return NONE
    if row["gain_lo"] is None or row["gain_hi"] is None:
        return f"{row['better']} {row['gain']:.1%}"
    return f"{row['better']} {row['gain']:.1%} ({row['gain_lo']:.1%} to {row['gain_hi']:.1%})"
