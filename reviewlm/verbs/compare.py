"""Define the command that compares two models."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from reviewlm import terminal
from reviewlm.flow_runs import (
    require_data_of,
    require_versions_or_models,
    run_version_flow,
    settings_of_versions,
)
from reviewlm.options import Json, Set, Verbose, VersionInput, VersionPreset

MODEL = "Number or alias of a registered version, or the name of a fitted model."


def compare(
    first: Annotated[str, typer.Argument(help=MODEL)],
    second: Annotated[str, typer.Argument(help=MODEL)],
    input: VersionInput = None,
    preset: VersionPreset = "",
    set: Set = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Compare two models on the same test reviews.

    Figures, slices, samples, cost.

    Without --input: the test reviews of the newer version.

    \b
    Examples:
      reviewlm compare champion kn5
      reviewlm compare champion previous
      reviewlm compare 3 4 --json
    """
    chosen = settings_of_versions([first, second], preset, input, set)
    require_versions_or_models(chosen, [first, second])
    require_data_of(chosen)
    result = run_version_flow(
        "compare", chosen, preset, input, set or [], first=first, second=second
    )
    _show(result)
    terminal.last_line(result, json)


def _show(result: dict[str, Any]) -> None:
    from reviewlm.evaluation.statistics.paired import TITLES
    from reviewlm.evaluation.statistics.slices import dimension_name

    terminal.say(
        f"A: {result['a']}\nB: {result['b']}\nScored on the same {result['reviews']:,} test reviews."
    )
    for note in result["notes"]:
        terminal.say(f"Note: {note}")
    sure = f"{result['confidence']:.0%}"
    figures = [
        {
            "figure": row["figure"],
            "A": row["A"],
            "B": row["B"],
            "B - A": _interval(row["difference"], row["lo"], row["hi"], ".4g"),
            **_gain(row),
        }
        for row in result["figures"]
    ]
    slices = [
        {
            "dimension": dimension_name(row["dimension"], row["slice"]),
            "slice": row["slice"],
            "reviews": row["reviews"],
            "A": row["A"],
            "B": row["B"],
            **_gain(row),
        }
        for row in result["slices"]
    ]
    terminal.show_rows(
        figures,
        f"Figures (lower is better), with paired {sure} intervals; gain: share of A's figure that B saves",
    )
    if slices:
        terminal.show_rows(slices, "Slices, in open bits per byte")
    else:
        terminal.say("No slice has enough test reviews (evaluation.min_slice_reviews).")
    costs = [
        {**row, **{letter: _whole(row[letter]) for letter in ("A", "B")}} for row in result["costs"]
    ]
    terminal.show_rows(costs, TITLES["costs"])
    for sample in result["samples"]:
        for letter in ("A", "B"):
            terminal.say(f"\n{letter} writes:")
            terminal.show_review(sample["stars"], sample[letter])
    terminal.say(f"\nAs a document: {result['markdown']}. MLflow run: {result['mlflow_run_id']}")


def _whole(value: float | None) -> float | int | None:
    """Return a count, such as that of the parameters, as a whole number; other figures as they are."""
    return int(value) if value is not None and float(value).is_integer() else value


def _gain(row: dict[str, Any]) -> dict[str, str]:
    return {
        "gain of B": _interval(row["gain"], row["gain_lo"], row["gain_hi"], ".1%"),
        "verdict": row["verdict"],
    }


def _interval(value: float | None, low: float | None, high: float | None, form: str) -> str:
    if value is None or low is None or high is None:
        return "–"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"
