"""Write a command's output for the user, and the one JSON object for a program."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, TextIO

from core.errors import EmptyInput, ReviewLMError, Unreadable, UsageError
from core.processes import standard_streams
from core.visible import visible

RESULT_WIDTH = 110
"""Columns of results that are written to a file or a pipe."""
STATIC_TITLE = "Test reviews, every token and the end of each review scored once (lower is better)"
ADAPTING_TITLE = "Models that adapt to the review they are measured on: do not compare them with the table above"


def log_to_stderr(rooms: Iterable[str]) -> None:
    """Show the rooms' log messages on standard error, in plain text and once: Prefect's console would repeat them."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    handler = _StandardError()
    handler.setFormatter(_Plain("%(asctime)s  %(message)s", "%H:%M:%S"))
    for room in rooms:
        logger = logging.getLogger(room)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


class _Plain(logging.Formatter):
    """Formatter that escapes control characters: a message may contain words of a review or the name of a file."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return visible(super().format(record))


class _StandardError(logging.StreamHandler[TextIO]):
    """Handler that always writes to the current standard error.

    A progress bar replaces standard error, so that log lines appear above the bar.
    """

    @property
    def stream(self) -> TextIO:
        """Standard error."""
        return sys.stderr

    @stream.setter
    def stream(self, ignored: TextIO) -> None:
        pass


def allow_any_terminal() -> None:
    """Show characters that a terminal's encoding lacks (stars, dashes) as question marks instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def width() -> int:
    """Return the columns of the terminal, or `RESULT_WIDTH` if standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else RESULT_WIDTH


def say(text: str = "") -> None:
    """Write a line to standard output."""
    sys.stdout.write(visible(text) + "\n")


def last_line(result: Mapping[str, Any], wanted: bool) -> None:
    """Write the JSON object of a command, if --json was given; `reviewlm/boundary.py` writes it at the end."""
    if not wanted:
        return
    if (document := standard_streams.document) is not None:
        document.add(result)
    else:
        sys.stdout.write(standard_streams.as_json_line(result))
        sys.stdout.flush()


def show_warnings(sentences: Iterable[str]) -> None:
    """Write warnings to standard error, each once."""
    for sentence in dict.fromkeys(sentences):
        sys.stderr.write(f"warning: {visible(sentence)}\n")


def show_error(error: ReviewLMError) -> None:
    """Write an error to standard error; an error of the command-line parser is shown in the parser's own words."""
    if isinstance(error, UsageError):
        error.show()
    else:
        sys.stderr.write(f"error: {error}\n")


def show_rows(rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Write rows as an aligned table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        say("(none)")
        return
    table = Table(title=title or None, title_justify="left")
    for name, value in rows[0].items():
        # Long cells are wrapped: a name or number that is cut off could be confused with another.
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))  # a plain str may hold rich's [markup]
    Console(width=width()).print(table)


def show_facts(facts: Mapping[str, Any]) -> None:
    """Write facts, one per line."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        if not isinstance(value, list | dict):
            say(f"{name:<{width}}  {_cell(value)}")


def show_models(result: Mapping[str, Any]) -> None:
    """Write the tables of static and adapting models, the floor, and the worst slices of the best model."""
    models = sorted(result["models"], key=lambda model: (_adapts(model), _bits(model)))
    base, floor = result.get("baseline", ""), result.get("floor")
    _show_compared([model for model in models if not _adapts(model)], base, floor, STATIC_TITLE)
    if adapting := [model for model in models if _adapts(model)]:
        _show_compared(adapting, base, floor, ADAPTING_TITLE)
    for model in models:
        if impossible := model["test"].get("impossible"):
            reviews = f"{impossible} of {model['test']['reviews']} test reviews"
            say(f"{model['name']} calls {reviews} impossible (probability 0): its perplexity is infinite.")
        if (adaptation := model.get("adaptation", "static")) != "static":
            say(f"{model['name']} adapts to the text it is measured on ({adaptation}): not a static figure.")
        if model["test"].get("below_floor"):
            say(f"Warning: {model['name']} is below the floor beyond noise: its figures leave out text or are wrong.")
    if floor:
        say(f"Floor: {floor['bits_per_byte']:.4f} bits/byte. {floor['statement']}")
    if models and (slices := result.get("slices")):
        _say_worst_slices(models[0]["name"], slices, models[0].get("baseline", base))


def _show_compared(models: Sequence[Mapping[str, Any]], baseline: str, floor: Any, title: str) -> None:
    """Write one table of comparable models, with their own baseline."""
    if not models:
        return
    base = models[0].get("baseline", baseline)
    rows = [_row_of_model(model, base, floor) for model in models]
    show_rows(rows, title)
    if any("±" in str(value) for row in rows for value in row.values()):
        luck = f"; ≈: the difference to {base} may be chance" if base else ""
        say(f"±: half of the confidence interval over reviews{luck}")
    if baseline and not base:
        kind = "variant of it that adapts" if _adapts(models[0]) else "static variant of it"
        say(f"No baseline for this table: '{baseline}' cannot be compared with it, and the run has no {kind}.")


def _adapts(model: Mapping[str, Any]) -> bool:
    return bool(model.get("adaptation", "static") != "static")


def _bits(model: Mapping[str, Any]) -> float:
    return _or_infinite(model["test"]["open_bits_per_byte"])


def _row_of_model(model: Mapping[str, Any], baseline: str, floor: Any) -> dict[str, Any]:
    test = model["test"]
    row = {
        "model": model["name"], "unit": model["unit"], "perplexity": test["perplexity"],
        "per word": test["word_perplexity"], "open bits/byte": with_interval(test, "open_bits_per_byte"),
    }
    if floor:
        row["over the floor"] = with_interval(test, "gap")
    if baseline:
        row[f"vs {baseline}"] = _change(test)
    return {**row, "hit@1": test.get("hit@1"), "oov": test.get("oov")}


def with_interval(figures: Mapping[str, Any], name: str) -> str:
    """Return a figure with half the width of its confidence interval, "1.234 ±0.012"; without it if there is none."""
    value, low, high = (figures.get(key) for key in (name, f"{name}_lo", f"{name}_hi"))
    shown = _cell(value if value is None else float(value))
    return shown if value is None or low is None or high is None else f"{value:.3f} ±{(high - low) / 2:.3f}"


def _change(test: Mapping[str, Any]) -> str:
    """Return the gain over the baseline as a change of bits per byte: negative is better."""
    gain, low, high = (test.get(name) for name in ("gain", "gain_lo", "gain_hi"))
    if not gain:
        return "–"
    maybe = "≈" if low is not None and high is not None and low <= 0 <= high else ""
    return f"{maybe}{-gain:+.1%}"


def _say_worst_slices(name: str, slices: Mapping[str, Any], baseline: str) -> None:
    """Write the slices with the largest excess over the model's overall figure, and those worse than the baseline."""
    own = [row for row in slices["worst"] if row["model"] == name]
    hard = [row for row in own if row["relative_to"] == "whole"][:3]
    if hard:
        far = ["infinite" if row["excess"] is None else f"{row['excess']:+.1%}" for row in hard]
        said = ", ".join(f"{row['dimension']} {row['slice']} {how}" for row, how in zip(hard, far, strict=True))
        say(f"Hardest for {name} of {hard[0]['looked_at']} slices, relative to all reviews: {said}.")
    worse = [row for row in own if row["relative_to"] == "baseline" and row["surely_worse"]]
    if worse:
        said = ", ".join(f"{row['dimension']} {row['slice']} ({-row['gain']:+.1%})" for row in worse)
        say(f"Surely worse than {baseline} in {said}; {worse[0]['looked_at']} slices were compared.")


def _or_infinite(value: float | None) -> float:
    return value if value is not None and isfinite(value) else float("inf")


def show_run(result: Mapping[str, Any]) -> None:
    """Write the result of a whole run."""
    show_models(result)
    reused = result["reused"]
    if reused:
        say(f"Reused: {len(reused)} of {result['stages']} stages were already finished ({', '.join(reused)}).")
    verdict = "promoted to @champion" if result["promoted"] else "not promoted"
    say(f"Challenger '{result['challenger']}' {verdict}: {result['reason']}")
    say(f"Champion: version {result['champion_version']}. MLflow run: {result['mlflow_run_id']}")
    show_report(result)


def show_report(result: Mapping[str, Any]) -> None:
    """Write the path of the page with all figures, if there is one."""
    if result.get("report"):
        say(f"Report: {result['report']}")


def show_review(stars: int | None, text: str) -> None:
    """Write one generated review."""
    import textwrap

    say()
    say("★" * stars + "☆" * (5 - stars) if stars else "(no rating requested)")
    for paragraph in text.split("\n"):
        say(textwrap.fill(paragraph, width(), initial_indent="  ", subsequent_indent="  "))


def show_suggestions(prompt: str, suggestions: Any) -> None:
    """Write the suggested next words with their probabilities."""
    words = ", ".join(f"{word} {probability:.1%}" for word, probability in suggestions.words)
    say(f"\n“{prompt} …”  →  {words}  (all else {suggestions.rest:.1%})")


def show_next_steps(name: str, version: int) -> None:
    """Write the commands to try next."""
    steps = {
        "make ui": "compare the runs in MLflow, start runs from Prefect",
        f".venv/bin/reviewlm generate --model {name} --stars 2": "write a review with this champion",
        ".venv/bin/reviewlm run --input YOUR_FILES": "train a separate model on your own reviews",
    }
    say(f"\nThe model is registered: models:/{name}@champion is version {version}. Next:")
    width = max(map(len, steps))
    for command, what in steps.items():
        say(f"  {command:<{width}}  {what}")


def read_texts(file: str) -> list[str]:
    """Return the non-empty lines of a file, or of standard input for "-".

    Raises:
        Unreadable: No such file, or it is not UTF-8.
        EmptyInput: There is no text in it.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable("The file cannot be read as UTF-8 text", where=file, cause=str(error)) from error
    lines = [line for line in text.split("\n") if line.strip()]  # splitlines() also cuts at U+2028 etc. in texts
    if not lines:
        raise EmptyInput("There is no text to score", where=file, remedy="give one text per line")
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}" if abs(value) < 0.1 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else visible(str(value))
