"""Define the commands that choose the learning rate and the optimiser of neural models."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.config.old_names import new_name
from core.errors import ConfigError
from core.output import require_folder
from reviewlm import terminal
from reviewlm.findings import Track
from reviewlm.options import Input, Json, NeuralModel, Preset, Set, Verbose, run_flow

if TYPE_CHECKING:
    from core.config.run_config import RunConfig
    from models.specs import NPLMSpec, RecurrentSpec

log = logging.getLogger(__name__)
app = typer.Typer()


@app.command()
def lr_find(
    model: NeuralModel = "",
    lowest: Annotated[float | None, typer.Option("--lowest", help="First rate. Default: the usual one.")] = None,
    highest: Annotated[float | None, typer.Option("--highest", help="Last rate. Default: the usual one.")] = None,
    updates: Annotated[int, typer.Option("--updates", min=20, help="Number of updates, each at a higher rate.")] = 150,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for JSON and picture (replaced). Default: lr-find/MODEL.")
    ] = None,
    track: Track = False,
    input: Input = None,
    preset: Preset = "small",
    set: Set = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Find a learning rate: raise it in a short training and find where the loss explodes."""

    def check(config: RunConfig) -> None:
        from core.config.neural_choice import chosen_model, folder_of
        from models.neural.optimization.rate_finder import WITHOUT_PART

        place, spec = chosen_model(config, model)
        _check_rates(spec.training.optimizer, lowest, highest)
        left_out = {f"training.{name}": "a range test has none" for name in WITHOUT_PART}
        _warn_of_overrides(set, (place, spec.name), left_out)
        require_folder(folder_of("lr-find", spec.name, out))

    result = run_flow(
        "lr_find", preset, input, set or [], check, "nothing of a range test is kept; a rerun starts it again",
        model=model, lowest=lowest, highest=highest, updates=updates, out=str(out or ""), track=track,
    )  # fmt: skip
    terminal.show_facts(result)
    if result["steepest"] is None:
        terminal.say("The loss hardly fell before it exploded: plain optimisers learn too slowly for a range test.")
    terminal.say(f"To use it: --set {result['setting']}={result['suggestion']:g}")
    _say_where(result)
    terminal.last_line(result, json)


@app.command()
def optimizers(
    rules: Annotated[str, typer.Option("--rules", help="Optimisers, separated by commas. Default: all.")] = "",
    rates: Annotated[
        str, typer.Option("--rates", help="'grid': the usual rates; 'find': by range test; or rates like 0.1,0.3,1.")
    ] = "grid",
    model: NeuralModel = "",
    size: Annotated[
        int, typer.Option("--size", min=0, help="Units and embedding of a one-layer model. 0: as configured.")
    ] = 64,
    tokens: Annotated[int, typer.Option("--tokens", min=1_000, help="Training tokens per epoch.")] = 60_000,
    epochs: Annotated[float, typer.Option("--epochs", help="Epochs of every trial.")] = 3.0,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for table, JSON and pictures (replaced). Default: optimizers/MODEL."),
    ] = None,
    track: Track = False,
    input: Input = None,
    preset: Preset = "small",
    set: Set = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Compare optimisers on one small model and the same data, each at its own rate, in a table and pictures."""
    if not 0 < epochs < inf:
        raise ConfigError("Epochs must be above 0 and finite", where="--epochs", value=epochs, remedy="--epochs 3")
    wanted = _rates(rules, rates)

    def check(config: RunConfig) -> None:
        from core.config.neural_choice import chosen_model, folder_of

        place, spec = chosen_model(config, model)
        _warn_of_overrides(set, (place, spec.name), _of_trials(spec, list(wanted), size, epochs))
        require_folder(folder_of("optimizers", spec.name, out))

    result = run_flow(
        "optimizers", preset, input, set or [], check, "the finished trials are written; a rerun starts them again",
        rates=wanted, model=model, size=size, tokens=tokens, epochs=epochs, out=str(out or ""), track=track,
    )  # fmt: skip
    passes = f"{result['train_tokens']:,} training tokens, {result['epochs']:g} times"
    terminal.show_rows(result["best"], f"{result['model']} on {passes}: every rule at its best rate, best rule first")
    for trial in result["trials"]:
        if trial["failure"]:
            rate = "" if trial["rate"] is None else f" at {trial['rate']:g}"
            terminal.say(f"{trial['optimizer']}{rate} failed: {trial['failure']}")
    _say_where(result)
    terminal.last_line(result, json)


def _say_where(result: Mapping[str, Any]) -> None:
    files = [Path(name) for name in result["files"]]
    terminal.say(f"Written to {files[0].parent}: {', '.join(path.name for path in files)}")
    if "mlflow_run_id" in result:
        terminal.say(f"MLflow run: {result['mlflow_run_id']}")


def _of_trials(spec: RecurrentSpec | NPLMSpec, rules: Sequence[str], size: int, epochs: float) -> dict[str, str]:
    """Return the model options that trials replace, each with the value or option used instead."""
    from models.neural.optimization.comparison import OWN, SAME

    asked = vars(spec.training)
    same = {name: f"every trial has {value}" for name, value in SAME.items() if asked[name] != value}
    own = {name: f"{rule} has its own" for rule in rules for name in OWN.get(rule, ())}
    trials = {**own, **same, "epochs": f"--epochs {epochs:g}", "optimizer": "--rules", "learning_rate": "--rates"}
    sizes = {name: f"--size {size}" for name in ("hidden", "embedding")} | {"layers": "with --size there is one"}
    return {f"training.{name}": instead for name, instead in trials.items()} | (sizes if size else {})


def _warn_of_overrides(
    overrides: Sequence[str] | None, called: tuple[int, str], instead: Mapping[str, str]
) -> None:
    """Warn about overrides of this model, given by position or name, that have no effect here."""
    for override in overrides or ():
        option = override.partition("=")[0].strip()
        for name in called:
            option = new_name(option.removeprefix(f"models.{name}."))
        if option in instead:
            log.warning("--set %s has no effect here: %s", override, instead[option])


def _check_rates(rule: str, lowest: float | None, highest: float | None) -> None:
    from models.neural.optimization.rate_finder import swept_range

    first, last = swept_range(rule, lowest, highest)
    if not 0 < first < last < inf:
        usual = "--lowest {:g} --highest {:g}".format(*swept_range(rule, None, None))
        raise ConfigError("The rates must rise and be above 0", where="--lowest, --highest",
                          value=f"{first:g} to {last:g}", remedy=f"usual with {rule}: {usual}")  # fmt: skip


def _rates(rules: str, rates: str) -> dict[str, list[float] | None]:
    """Return the learning rates to try, by rule; None for the rate of a range test."""
    from models.neural.optimization.comparison import GRID

    chosen = [name.strip() for name in rules.split(",") if name.strip()] or list(GRID)
    if unknown := [name for name in chosen if name not in GRID]:
        near = difflib.get_close_matches(unknown[0], GRID, n=1) or GRID
        raise ConfigError("Unknown optimiser", where="--rules", value=unknown[0], remedy=", ".join(near))
    if rates in ("grid", "find"):
        return {name: list(GRID[name]) if rates == "grid" else None for name in chosen}
    return {name: _numbers(rates) for name in chosen}


def _numbers(rates: str) -> list[float]:
    try:
        numbers = [float(part) for part in rates.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number < inf for number in numbers):
        raise ConfigError(
            "These are not valid rates", where="--rates", value=rates, remedy="grid, find, or e.g. 0.1,0.3,1"
        )
    return numbers
