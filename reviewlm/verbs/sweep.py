"""Define the command that searches the options of one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError
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
    seeds: Annotated[int | None, typer.Option("--seeds", min=0, help="Fresh seeds for each finalist.")] = None,
    finalists: Annotated[int | None, typer.Option("--finalists", min=1, help="Best trials to fit again.")] = None,
    input: Input = None, preset: Preset = "small", set: Set = None, verbose: Verbose = False, json: Json = False,
) -> None:
    """Search a model's options. --space replaces the preset's; a rerun continues where the last one stopped."""
    given = {"model": model or None, "trials": trials, "seeds": seeds, "finalists": finalists}
    chosen = [f"sweep.{name}={value}" for name, value in given.items() if value is not None]
    if space is not None:
        chosen.append(f"sweep.space={_table(space)}")
    result = run_flow("sweep", preset, input, [*(set or []), *chosen], _check_sweep)
    _show(result)
    terminal.last_line(result, json)


def _check_sweep(config: RunConfig) -> None:
    from core.config.search_space import chosen_model, parse_space

    parse_space(chosen_model(config, config.sweep.model)[1], config.sweep.space)


def _table(space: str) -> str:
    """Return "a=1..2 b.c=x|y" as a TOML table.

    Raises:
        ConfigError: A word is not of the form option=range, or an option is given twice.
    """
    entries: dict[str, str] = {}
    for word in space.split():
        name, equals, text = word.partition("=")
        if not (name and equals and text) or set('"\\') & set(word):
            raise ConfigError(
                "A space must be a list of option=range", where="--space", value=word,
                remedy='e.g. --space "hidden=128..512:log training.optimizer=adamw|sgd"',
            )
        if name in entries:
            raise ConfigError("An option is in the space twice", where="--space", value=word, remedy="keep one")
        entries[name] = text
    return "{" + ", ".join(f'"{name}" = "{text}"' for name, text in entries.items()) + "}"


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
    if any("seeds" in row for row in result["finalists"]):
        terminal.show_rows(result["finalists"], "Finalists, each with seeds that the search did not use")
    winner = result["winner"]
    terminal.say(f"\nWinner: trial {winner['trial']}, validation perplexity {_perplexity(winner)}. In a preset:\n")
    terminal.say(result["toml"])
    terminal.say("\nor: " + " ".join(f"--set {override}" for override in result["overrides"]))
    terminal.say(f"MLflow run: {result['mlflow_run_id']}")


def _perplexity(winner: Mapping[str, Any]) -> str:
    """Return the winner's perplexity with its confidence interval; failed seeds are mentioned."""
    seeds, failed = winner.get("seeds", 0), winner.get("seeds_failed", 0)
    if not seeds:
        lucky = f"{winner['search_perplexity']:.4g}, which is too optimistic: it is the best of all trials"
        return f"{lucky}, and all {failed} fresh seeds failed" if failed else lucky
    lost = f"; {failed} of {seeds + failed} seeds failed" if failed else ""
    if seeds == 1:
        return f"{winner['perplexity']:.4g} (1 seed, no interval{lost})"
    sure = f"{winner['confidence']:.0%}, {seeds} seeds{lost}"
    return f"{winner['perplexity']:.4g} [{winner['low']:.4g}, {winner['high']:.4g}] ({sure})"
