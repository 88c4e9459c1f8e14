"""Define the command that compares two models."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from reviewlm import shell_words, terminal
from reviewlm.flow_runs import (
    require_data_of,
    require_versions_or_models,
    run_version_flow,
    settings_of_versions,
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

    Without --input: the test reviews of the newer version.

    \b
    Examples:
      reviewlm compare champion kn5
      reviewlm compare champion previous --samples
      reviewlm compare 3 4 --json
    """
    chosen = settings_of_versions([first, second], preset, input, set)
    require_versions_or_models(chosen, [first, second])
    require_data_of(chosen)
    result = run_version_flow(
        "compare", chosen, preset, input, set or [], first=first, second=second
    )
    _show(result, samples)
    terminal.last_line(result, json)


def _show(result: dict[str, Any], samples: bool) -> None:
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
    for sample in result["samples"] if samples else ():
        for letter in ("A", "B"):
            terminal.say(f"\n{letter} writes:")
            terminal.show_review(sample["stars"], sample[letter])

    terminal.say(f"\nAs a document: {result['markdown']}", whole=True)
    terminal.say(f"In MLflow, after `reviewlm services start`: {result['mlflow_page']}", whole=True)
    terminal.say(_conclusion(result))


def _conclusion(result: dict[str, Any]) -> str:
    """Return the verdict about open bits per byte, the figure that models of any vocabulary can be compared by."""
    from reviewlm.evaluation.statistics.comparison import METRICS
    from reviewlm.evaluation.statistics.paired import BETTER, UNDECIDED, A, B

    figure = METRICS["open_bits_per_byte"]
    main = next(row for row in result["figures"] if row["figure"] == figure)
    names = {letter: result[letter.lower()] for letter in (A, B)}
    sure = f"{result['confidence']:.0%}"
    if main["verdict"] == UNDECIDED:
        interval = _interval(main["gain"], main["gain_lo"], main["gain_hi"], ".1%")
        return (
            f"Verdict: these {result['reviews']:,} test reviews show no difference between {names[A]} and {names[B]} "
            f"(gain of B: {interval}, {sure} interval)."
        )

    better = next((letter for letter, words in BETTER.items() if words == main["verdict"]), None)
    if better is None:
        return "Verdict: none, because a figure is infinite."

    other = B if better == A else A
    saved = main["gain"] if better == B else 1 - main[A] / main[B]
    return (
        f"Verdict: {names[better]} is better than {names[other]}: it needs {saved:.1%} fewer bits for the same text "
        f"(a difference by chance alone is unlikely: {sure} interval)."
    )


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
