"""Define the command that predicts the next value of a column of numbers."""

from __future__ import annotations

import logging
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError, InputError, MissingColumn, Unreadable
from reviewlm import terminal
from reviewlm.options import Json, checked

if TYPE_CHECKING:
    import numpy as np

app = typer.Typer()
log = logging.getLogger(__name__)
SYNTHETIC = 3_000
"""Values of a series that is made up."""


class Made(StrEnum):
    """A series that is made up."""

    WALK = "walk"
    CYCLE = "cycle"


class CellKind(StrEnum):
    """Recurrent cell."""

    LSTM = "lstm"
    GRU = "gru"
    RNN = "rnn"


@app.command()
def forecast(
    input: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="CSV file, a row for each step, the oldest first.")
    ] = None,
    column: Annotated[str, typer.Option("--column", metavar="NAME", help="Its column of numbers.")] = "",
    made: Annotated[Made, typer.Option(
        "--made", help="Without --input, a series that is made up: a random walk, or a noisy cycle.",
    )] = Made.WALK,
    window: Annotated[int, typer.Option("--window", min=1, max=10_000, help="Changes that are read.")] = 20,
    relative: Annotated[bool, typer.Option(
        "--relative", help="Read relative changes, as is usual for prices; the values must be above 0.",
    )] = False,
    cell: Annotated[CellKind, typer.Option("--cell", help="Recurrent cell.")] = CellKind.LSTM,
    hidden: Annotated[int, typer.Option("--hidden", min=1, max=4_096, help="Units.")] = 32,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training part.")] = 30,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of weights, order and draws.")] = 1,
    json: Json = False,
) -> None:  # fmt: skip
    """Predict the next value of a series, if a network does it better than "tomorrow is like today".

    The many-to-one regression of the course, on any column of numbers.
    """
    from course.forecast import NETWORK, RECIPE, TODAY, ForecastOptions, noisy_cycle, random_walk
    from course.forecast import forecast as predict

    if input is None:
        series = {Made.WALK: random_walk, Made.CYCLE: noisy_cycle}[made](SYNTHETIC, seed)
    else:
        series = _column(input, column)
    recipe = checked(lambda: replace(RECIPE, epochs=float(epochs), seed=seed))
    options = ForecastOptions(window, relative, cell.value, hidden, recipe)
    found = checked(lambda: predict(series, options, lambda epoch, error: log.info("epoch %d: %.4g", epoch, error)))
    rows = [{"forecast": name, "root mean square error": f"{error:.6g}"} for name, error in found.errors.items()]
    terminal.show_rows(rows, f"Errors on the last {found.tested:,} of {len(series):,} values")
    gain, low, high = found.gain
    saved = f"{gain:+.1%} of the squared error saved ({low:+.1%} to {high:+.1%})"
    if found.accepted:
        terminal.say(f"Accepted: the network beats '{TODAY}', {saved}. Next value: {found.next:.6g}")
    else:
        terminal.say(f"Refused: the network does not beat '{TODAY}' by more than chance, {saved}.")
        terminal.say(f"So the best forecast of the next value is the last one: {found.next:.6g}")
    result: dict[str, Any] = {
        "values": len(series), "tested": found.tested, "errors": found.errors, "accepted": found.accepted,
        "gain": {"of": NETWORK, "over": TODAY, "share": gain, "low": low, "high": high}, "next": found.next,
    }  # fmt: skip
    terminal.last_line(result, json)


def _column(file: Path, name: str) -> np.ndarray:
    """Return a column of a CSV file as numbers.

    Raises:
        Unreadable: There is no such file, or it is no CSV.
        MissingColumn: There is no such column.
        InputError: A row has no number there.
    """
    import polars as pl

    try:
        table = pl.read_csv(file, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise Unreadable("The series cannot be read", where=file, cause=str(error).splitlines()[0]) from error
    if not name:
        raise ConfigError("No column is named", where="--column", remedy=f"one of {', '.join(table.columns)}")
    if name not in table.columns:
        raise MissingColumn(
            "There is no such column", where=file, value=name, remedy=f"one of {', '.join(table.columns)}"
        )
    numbers = table[name].str.strip_chars().cast(pl.Float64, strict=False)
    wrong = (numbers.is_null() | ~numbers.is_finite()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            "A row has no number in the column", where=f"{file}, row {row + 1} after the header, {name}",
            value=table[name][row], remedy="leave out such rows, or fill them",
        )
    return numbers.to_numpy()
