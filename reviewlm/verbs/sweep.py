"""Define the command that searches the options of one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviewlm import terminal
from reviewlm.options import Input, Json, NeuralModel, Preset, Set, Verbose, run_flow

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

BEST_SHOWN = 12


def sweep(
    model: NeuralModel = "",
    space: Annotated[
        str | None,
        typer.Option("--space", help='E.g. "hidden=128..512:log dropout=0..0.5 training.optimizer=adamw|sgd".'),
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Total, including earlier runs.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=0, help="Fresh seeds for the best trial.")] = None,
    input: Input = None, preset: Preset = "small", set: Set = None, verbose: Verbose = False, json: Json = False,
) -> None:
    """Search a model's options. --space replaces the preset's; a rerun continues where the last one stopped."""
    given = {"model": model or None, "trials": trials, "seeds": seeds}
    chosen = [f"sweep.{name}={value}" for name, value in given.items() if value is not None]
    if space is not None:
        chosen += ["sweep.space={}", *(f"sweep.space.{word}" for word in space.split())]
    result = run_flow("sweep", preset, input, [*(set or []), *chosen], _check_sweep)
    _show(result)
    terminal.last_line(result, json)


def _check_sweep(config: RunConfig) -> None:
    from tasks.search_space import chosen_model, parse_space

    parse_space(chosen_model(config, config.sweep.model)[1], config.sweep.space)


def _show(result: Mapping[str, Any]) -> None:
    rows = result["trials"]
    complete = sorted((row for row in rows if row["perplexity"] is not None), key=lambda row: row["perplexity"])
    left_out = ("state", "reached", "reason", "mlflow_run_id")
    shown = [{name: value for name, value in row.items() if name not in left_out} for row in complete[:BEST_SHOWN]]
    counts = {state: sum(row["state"] == state for row in rows) for state in ("complete", "pruned", "failed")}
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    terminal.show_rows(shown, f"{summary}; the best by validation perplexity")
    for row in rows:
        if row["state"] == "failed":
            terminal.say(f"Trial {row['trial']} failed: {row['reason']}")
    if result["importances"]:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in result["importances"].items())
        terminal.say(f"Share of the variance (fANOVA): {shares}")
    terminal.say(f"\nWinner: trial {result['winner']['trial']}, {_perplexity(result['winner'])}. In a preset:\n")
    terminal.say(result["toml"])
    terminal.say("\nor: " + " ".join(f"--set {override}" for override in result["overrides"]))
    terminal.say(f"MLflow run: {result['mlflow_run_id']}")


def _perplexity(winner: Mapping[str, Any]) -> str:
    """Return the winner's perplexity with its confidence interval; failed seeds are mentioned."""
    figure, ended, failed = winner.get("perplexity"), winner["seeds"], winner["seeds_failed"]
    seeds = f"{ended} fresh seeds" + (f", {failed} more failed" if failed else "")
    if figure is None:
        lucky = f"validation perplexity {winner['search_perplexity']:.4g}"
        return f"{lucky}, which is too optimistic: it is the best of all trials ({seeds})"
    interval = f" [{winner['low']:.4g}, {winner['high']:.4g}] ({winner['confidence']:.0%})" if "low" in winner else ""
    return f"validation perplexity {figure:.4g}{interval}, {seeds}"
