"""The verb that puts two models beside each other."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from reviewlm import terminal
from reviewlm.verbs.options import Input, Json, Preset, Set, run_flow

app = typer.Typer()
MODEL = "Number or alias of a registered version, or the name of a model that the preset has fitted."


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help=MODEL)],
    second: Annotated[str, typer.Argument(help=MODEL)],
    input: Input = None, preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:  # fmt: skip
    """Compare two models on the same test reviews: figures, slices, samples, cost."""
    result = run_flow("compare", preset, input, set or [], first=first, second=second)
    _show(result)
    terminal.last_line(result, json)


def _show(result: dict[str, Any]) -> None:
    terminal.say(f"A: {result['a']}\nB: {result['b']}\nScored on the same {result['reviews']:,} test reviews.")
    for note in result["notes"]:
        terminal.say(f"Note: {note}")
    shown = {"figures": f"Figures; difference B - A with its paired {result['confidence']:.0%} interval",
             "costs": "Cost", "slices": "Slices, open bits per byte; gain of B"}  # fmt: skip
    for name, title in shown.items():
        terminal.show_rows(result[name], title)
    for sample in result["samples"]:
        for letter in ("A", "B"):
            terminal.say(f"\n{letter} writes:")
            terminal.show_review(sample["stars"], sample[letter])
    terminal.say(f"\nAs a document: {result['markdown']}. MLflow run: {result['mlflow_run_id']}")
