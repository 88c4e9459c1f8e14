"""Verbs that make n-gram models of plain text, one sentence a line, as KenLM's programs do; no pipeline needed."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from reviewlm import terminal
from reviewlm.errors import ConfigError, disk_errors
from reviewlm.verbs.options import Json, Preset, Set, checked, configured

app = typer.Typer(
    no_args_is_help=True, help="N-gram models of any text: fit, score, compare the methods. KenLM's numbers."
)
Text = Annotated[
    Path, typer.Option("--text", help="Tokenised text, one sentence a line, words between blanks; also .gz and .zst.")
]
PARAMETERS = ("k", "alpha", "cut", "weights", "discounts", "fallback", "kenlm_exact")
SMOOTHING = (
    "modified_kneser_ney, kneser_ney, katz, absolute_discounting, witten_bell, jelinek_mercer, add_k, "
    "maximum_likelihood or stupid_backoff."
)


@app.command()
def fit(
    text: Text,
    order: Annotated[int, typer.Option("--order", min=1, max=6, help="N, the longest n-gram.")] = 5,
    arpa: Annotated[
        Path | None, typer.Option("--arpa", help="ARPA file to write, for any toolkit; packed if it ends in .gz.")
    ] = None,
    binary: Annotated[
        Path | None, typer.Option("--binary", help="Folder to write: the memory-mapped form, which opens at once.")
    ] = None,
    prune: Annotated[
        str, typer.Option("--prune", help="Count thresholds per order, e.g. 0,0,1 (0: keep all; the last one repeats).")
    ] = "",
    entropy: Annotated[
        float, typer.Option("--entropy", min=0, help="Drop n-grams that cost less perplexity than this, e.g. 1e-7.")
    ] = 0.0,
    smoothing: Annotated[str, typer.Option("--smoothing", help=SMOOTHING)] = "modified_kneser_ney",
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", help="Of the method: k=0.01, alpha=0.3, cut=7, weights=0.9,0.7,0.5, fallback=0.5,1,1.5 "
            "(discounts where the text is too small to say), kenlm_exact=false (the textbook's counts). Repeatable."
        ),
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option("--held-out", help="Other text, for methods that choose parameters on it.")
    ] = None,
    marks: Annotated[
        str, typer.Option("--marks", help="What <s>, </s> and <unk> in the text are: 'refuse' an error, 'skip' blanks.")
    ] = "refuse",
    preset: Preset = "small", set: Set = None, as_json: Json = False,
) -> None:
    """Estimate an n-gram model from a text file."""
    if arpa is None and binary is None:
        raise ConfigError("Nothing to write was named", remedy="give --arpa FILE, --binary FOLDER, or both")
    if marks not in ("refuse", "skip"):
        raise ConfigError("There is no such way with marks", where="--marks", value=marks, remedy="refuse or skip")
    options, thresholds = _parameters(option or []), _thresholds(prune)
    configured(preset, set)
    from models.base import ModelError
    from models.ngram.text_files import checked_spec, fit_text

    try:
        checked_spec(order, smoothing, options, thresholds, held_out is not None)
    except ModelError as error:
        raise ConfigError(f"A setting is not valid: {error}") from error
    with disk_errors(arpa or binary or ""):
        result = checked(
            lambda: fit_text(
                text, order, thresholds, smoothing, arpa, binary, entropy=entropy, held_out=held_out, marks=marks,  # type: ignore[arg-type]
                **options,
            )
        )
    terminal.show_rows(_per_order(result))
    terminal.show_facts({name: value for name, value in result.items() if name not in ("ngrams", "discounts")})
    if orders := result["fallback_orders"]:
        terminal.say(f"The text is too small for discounts of its own at order {orders}: the fallback was taken.")
    if arpa is not None and smoothing == "maximum_likelihood":
        terminal.say("ARPA has no zero: -99 stands for it, and readers take it for log10 p. --binary keeps the zeros.")
    written = {"arpa": arpa, "binary": binary}
    terminal.last_line({**result, **{name: str(path) for name, path in written.items() if path}}, as_json)


@app.command()
def score(
    text: Text,
    arpa: Annotated[
        Path | None, typer.Option("--arpa", help="An ARPA file of any toolkit, or the folder that --binary wrote.")
    ] = None,
    binary: Annotated[Path | None, typer.Option("--binary", help="The folder that `fit --binary` wrote.")] = None,
    preset: Preset = "small", set: Set = None, as_json: Json = False,
) -> None:
    """Measure a text file with a model file: perplexity with and without unknown words, as KenLM's `query` does."""
    model = arpa or binary
    if model is None or (arpa and binary):
        raise ConfigError("Exactly one model is needed", remedy="give --arpa FILE or --binary FOLDER")
    configured(preset, set)
    from models.ngram.text_files import score_text

    result = checked(lambda: score_text(model, text))
    terminal.show_facts(result)
    terminal.last_line(result, as_json)


def _thresholds(given: str) -> list[int]:
    try:
        return [int(part) for part in given.replace(",", " ").split()]
    except ValueError as error:
        raise ConfigError("--prune wants whole numbers between commas", where="--prune", value=given) from error


def _parameters(given: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE of a method's parameters."""
    options: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in PARAMETERS:
            near = difflib.get_close_matches(name, PARAMETERS, n=1) or PARAMETERS
            remedy = f"one of {', '.join(near)}, e.g. k=0.01"
            raise ConfigError("The method has no such parameter", where="--option", value=text, remedy=remedy)
        options[name] = _value(name, value)
    return options


def _value(name: str, text: str) -> Any:
    many = name in ("weights", "discounts", "fallback")
    try:
        found = json.loads(f"[{text}]")
        return tuple(found) if many else found[0]
    except (ValueError, IndexError) as error:
        what = "numbers between commas" if many else "one number (kenlm_exact: true or false)"
        raise ConfigError(f"{name} wants {what}", where="--option", value=text) from error


def _per_order(result: dict[str, Any]) -> list[dict[str, Any]]:
    names = ("D1", "D2", "D3+")
    rows = []
    for order, ngrams in enumerate(result["ngrams"], start=1):
        discounts = result["discounts"][order - 1] if result["discounts"] else (None, None, None)
        rows.append({"order": order, "n-grams": ngrams, **dict(zip(names, discounts, strict=True))})
    return rows
