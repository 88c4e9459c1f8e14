"""Verbs about the optimisation of neural models: which learning rate, which rule."""

from __future__ import annotations

import difflib
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reviewlm import terminal
from reviewlm.errors import ConfigError
from reviewlm.verbs.findings import require_folder
from reviewlm.verbs.options import Input, Json, NeuralModel, Preset, Set, run_flow

if TYPE_CHECKING:
    from reviewlm.config import RunConfig

app = typer.Typer()


@app.command()
def lr_find(
    model: NeuralModel = "",
    lowest: Annotated[float | None, typer.Option("--lowest", help="First rate; none: as usual with the rule.")] = None,
    highest: Annotated[float | None, typer.Option("--highest", help="Last rate; none: as usual with the rule.")] = None,
    updates: Annotated[int, typer.Option("--updates", min=20, help="Steps between them.")] = 150,
    out: Annotated[Path, typer.Option("--out", help="Folder for lr_find.json and lr_find.png.")] = Path("lr-find"),
    input: Input = None,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Find a learning rate: train a little while it rises, and see from where on the loss explodes."""
    require_folder(out)

    def check(config: RunConfig) -> None:
        _check_rates(config, model, lowest, highest)

    result = run_flow(
        "lr_find", preset, input, set or [], check, model=model, lowest=lowest, highest=highest, updates=updates,
        out=str(out),
    )  # fmt: skip
    terminal.show_facts(result)
    if result["steepest"] is None:
        terminal.say("The loss hardly fell before it exploded: plain rules learn too slowly for a range test.")
    terminal.say(f"To take it: --set {result['setting']}={result['suggestion']:g}")
    terminal.say(f"Written to {out}: {', '.join(Path(name).name for name in result['files'])}")
    terminal.last_line(result, json)


@app.command()
def optimizers(
    rules: Annotated[str, typer.Option("--rules", help="Rules between commas; none: all.")] = "",
    rates: Annotated[
        str, typer.Option("--rates", help="'grid': the usual rates of each rule; 'find': by range test; or 0.1,0.3,1.")
    ] = "grid",
    model: NeuralModel = "",
    size: Annotated[int, typer.Option("--size", min=0, help="Units of its one layer; 0: as configured.")] = 64,
    tokens: Annotated[int, typer.Option("--tokens", min=1_000, help="Training tokens of an epoch.")] = 60_000,
    epochs: Annotated[float, typer.Option("--epochs", help="Of every trial.")] = 3.0,
    out: Annotated[Path, typer.Option("--out", help="Folder for table, JSON and pictures.")] = Path("optimizers"),
    track: Annotated[bool, typer.Option("--track", help="Write every trial to MLflow, as a run of its own.")] = False,
    input: Input = None,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Compare optimisers: one small model, the same data, each rule at its own rate, in a table and pictures."""
    if not epochs > 0:
        raise ConfigError("There must be something to train on", where="--epochs", value=epochs, remedy="--epochs 3")
    require_folder(out)
    wanted = _rates(rules, rates)

    def check(config: RunConfig) -> None:
        from reviewlm.neural_choice import chosen_model

        chosen_model(config, model)

    result = run_flow(
        "optimizers", preset, input, set or [], check, rates=wanted, model=model, size=size, tokens=tokens,
        epochs=epochs, out=str(out), track=track,
    )  # fmt: skip
    passes = f"{result['train_tokens']:,} training tokens, {result['epochs']:g} times"
    terminal.show_rows(result["best"], f"{result['model']} on {passes}: every rule at its best rate, best rule first")
    terminal.say(f"Written to {out}: {', '.join(Path(name).name for name in result['files'])}")
    if track:
        terminal.say(f"MLflow run: {result['mlflow_run_id']}")
    terminal.last_line(result, json)


def _check_rates(config: RunConfig, model: str, lowest: float | None, highest: float | None) -> None:
    from models.neural.rate_finder import swept_range
    from reviewlm.neural_choice import chosen_model

    rule = chosen_model(config, model)[1].training.optimizer
    first, last = swept_range(rule, lowest, highest)
    if not 0 < first < last < inf:
        usual = "--lowest {:g} --highest {:g}".format(*swept_range(rule, None, None))
        raise ConfigError("The rates must rise, from above 0", where="--lowest, --highest",
                          value=f"{first:g} to {last:g}", remedy=f"usual with {rule}: {usual}")  # fmt: skip


def _rates(rules: str, rates: str) -> dict[str, list[float] | None]:
    """Return what is to be tried, by rule; None for the rate of a range test."""
    from models.neural.optimizer_comparison import GRID

    chosen = [name.strip() for name in rules.split(",") if name.strip()] or list(GRID)
    if unknown := [name for name in chosen if name not in GRID]:
        near = difflib.get_close_matches(unknown[0], GRID, n=1) or GRID
        raise ConfigError("There is no such rule", where="--rules", value=unknown[0], remedy=", ".join(near))
    if rates in ("grid", "find"):
        return {name: list(GRID[name]) if rates == "grid" else None for name in chosen}
    return {name: _numbers(rates) for name in chosen}


def _numbers(rates: str) -> list[float]:
    try:
        numbers = [float(part) for part in rates.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number < inf for number in numbers):
        raise ConfigError("These are no rates", where="--rates", value=rates, remedy="grid, find, or e.g. 0.1,0.3,1")
    return numbers
