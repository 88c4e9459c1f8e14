"""Define `models punctuate fit` and `write`: train a tagger of case and punctuation; restore plain text with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from reviewlm import terminal
from reviewlm.core.errors import ConfigError
from reviewlm.flow_runs import run_flow, with_rebuild
from reviewlm.options import Input, Json, Preset, Rebuild, Set, Verbose, configure, run_checked

app = typer.Typer(no_args_is_help=True, help="Restore the case and punctuation of plain text.")


@app.command()
def fit(
    input: Input = None,
    preset: Preset = "small",
    set: Set = None,
    rebuild: Rebuild = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Train a tagger on the reviews, and score it on the test reviews.

    Its labels come free: every review says how its words are written. The section `punctuation` has the settings.

    \b
    Example:
      reviewlm models punctuate fit --input reviews.json
    """
    result = run_flow("punctuate", preset, input, with_rebuild(set, rebuild))
    _show(result["rows"])
    terminal.say(f"Model: {result['model']}", whole=True)
    terminal.say('\nNext: `reviewlm models punctuate write "the food was great"`')
    terminal.last_line(result, json)


@app.command()
def write(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; or a file with one text per line; or - .")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", help="Folder of a model of `models punctuate fit`. Default: the newest."
        ),
    ] = None,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Write texts with case and punctuation.

    \b
    Examples:
      reviewlm models punctuate write "the food was great"
      reviewlm models punctuate write plain.txt
    """
    from reviewlm.models.punctuator import Punctuator

    if not texts:
        raise ConfigError(
            "No text was given", where="punctuate write", remedy="name a text, a file, or -"
        )

    if model is None:
        from reviewlm.tasks.punctuate import MODEL, newest_punctuator

        model = newest_punctuator(configure(preset, set, create=False).home).folder / MODEL

    lines = [line for text in texts for line in _lines(text)]
    opened = run_checked(lambda: Punctuator.load(model))
    written = run_checked(lambda: opened.restore(lines))
    for line in written:
        terminal.say(line, whole=True)

    terminal.last_line({"model": str(model), "texts": written}, json)


def _lines(text: str) -> list[str]:
    """Return the lines of standard input ("-") or of a file, or the text itself."""
    try:
        named = text == "-" or ("\n" not in text and Path(text).is_file())
    except OSError:  # too long for the name of a file
        named = False
    if named:
        return terminal.read_text(text).removesuffix("\n").split("\n")
    return [text]


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Show F1 of each way by what is restored; what was never written has no row."""
    ways = list(dict.fromkeys(row["model"] for row in rows))
    shown = []
    for one in dict.fromkeys(row["class"] for row in rows if row["written"]):
        by_way = {row["model"]: row for row in rows if row["class"] == one}
        best = by_way[ways[0]]
        line = {"restored": one, "written": f"{best['written']:,}"}
        line |= {name: _share(by_way[name]["f1"]) for name in ways}
        line["gain"] = f"{_share(best['gain_lo'], '+')} to {_share(best['gain_hi'], '+')}"
        shown.append(line)

    terminal.show_rows(shown, "F1 on test reviews")
    if shown:
        terminal.say(
            f"written: how often in the test reviews; gain: interval of {ways[0]} against '{ways[1]}'."
        )


def _share(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.3f}"
