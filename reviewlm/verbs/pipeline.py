"""Define the commands run, demo, ingest, promote, rescore and sweep, and show what they return."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reviewlm import flow_runs, options, shown_results, terminal
from reviewlm.options import (
    Input,
    Json,
    Preset,
    Rebuild,
    Set,
    Verbose,
    VersionInput,
    VersionPreset,
    configure,
)
from reviewlm.verbs.champion import Who, Why, promote_by_hand

if TYPE_CHECKING:
    from reviewlm.core.config.run_config import RunConfig

BEST_SHOWN = 12
"""Trials of a sweep in the table."""
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        min=1,
        max=100_000,
        metavar="MINUTES",
        help="Choose vocabulary, network and length of training so that the whole run takes this long. The preset is then "
        "`minutes`, or one that extends it.",
    ),
]
Until = Annotated[
    Literal["prepare", "train", "evaluate"] | None,
    typer.Option(
        "--until",
        help="Stop after this part: prepare: token streams; train: fitted models; evaluate: the table that compares them.",
    ),
]


def run(
    context: typer.Context,
    input: Input = None,
    minutes: Minutes = None,
    until: Until = None,
    preset: Preset = "small",
    set: Set = None,
    rebuild: Rebuild = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Run the pipeline, from reviews to a registered model.

    Without --input: on the embedded corpus. Before the end (--until), nothing is registered.

    \b
    Examples:
      reviewlm run --input reviews.json --minutes 15
      reviewlm run --input reviews.json.gz --preset small
      reviewlm run --input reviews.json --until evaluate
      reviewlm run --input reviews.json --set models.lstm.hidden=512 --set seed=7
    """
    overrides = flow_runs.with_rebuild(set, rebuild)
    if minutes is None:
        result = flow_runs.run_flow(
            "retrain",
            preset,
            input,
            overrides,
            until=until,
        )
    elif until:
        raise typer.BadParameter("it plans a whole run", param_hint="--minutes")
    else:
        from reviewlm.tasks.planning.rule import FRAME, require_frame

        preset = preset if options.is_given(context, "preset") else FRAME
        result = flow_runs.run_flow(
            "retrain",
            preset,
            input,
            overrides,
            require_frame,
            minutes=minutes,
        )

    shows: dict[str | None, Callable[[Mapping[str, Any]], None]] = {
        "prepare": shown_results.show_prepared,
        None: shown_results.show_run,
        "train": shown_results.show_fitted,
        "evaluate": shown_results.show_models,
    }
    _show_run(result, json, shows[until], _options(input, preset))


def _options(input: list[str] | None, preset: str) -> str:
    """Return the options that name the data of a run for another command."""
    return (
        "".join(f" --input {shlex.quote(one)}" for one in input or ())
        or f" --preset {shlex.quote(preset)}"
    )


def _show_run(
    result: dict[str, Any],
    json: bool,
    show: Callable[[Mapping[str, Any]], None] = shown_results.show_run,
    of: str = "",
) -> None:
    """Write the result of a run, or of its first part, and the path of its report; *of* are options of its data."""
    if account := result.get("account"):
        shown_results.show_account(account, of)
    show(result)
    shown_results.show_report(result)
    terminal.last_line(result, json)


def demo(
    set: Set = None,
    rebuild: Rebuild = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Run the pipeline on a small corpus, which is embedded."""
    _show_run(
        flow_runs.run_flow("retrain", "demo", None, flow_runs.with_rebuild(set, rebuild)), json
    )


def ingest(
    input: Input = None,
    preset: Preset = "small",
    set: Set = None,
    rebuild: Rebuild = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Read and check reviews; bad records go to the quarantine.

    \b
    Example:
      reviewlm data ingest --input 'exports/*.csv'
    """
    result = flow_runs.run_flow("ingest_only", preset, input, flow_runs.with_rebuild(set, rebuild))
    shown_results.show_account(result["account"], _options(input, preset))
    terminal.last_line(result, json)


def promote(
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Promote this version by hand.")
    ] = None,
    why: Why = "",
    who: Who = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote it although the gate has refused it.")
    ] = False,
    model: options.RegisteredModel = "",
    input: VersionInput = None,
    preset: VersionPreset = "",
    set: Set = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Promote the best model if it passes the gate; or by hand.

    It is compared with the champion.

    Without --preset and --input: the champion's configuration. With --version: promote that version by hand.

    \b
    Example:
      reviewlm promote --version 3 --why "agreed in review"
    """
    if version is not None:
        if not why.strip():
            raise typer.BadParameter("a promotion by hand needs a reason: --why TEXT")
        if input:
            raise typer.BadParameter(
                "--input is for the gate; a promotion by hand, with --version, reads no reviews"
            )
        config = configure(preset or "small", set, create=False)
        result = promote_by_hand(
            config.workspace,
            config.promotion,
            model,
            version,
            why,
            who,
            force,
        )
        terminal.show_result(result, json)
    elif why or who or force or model:
        raise typer.BadParameter(
            "--why, --who, --force and --model belong to a promotion by hand: --version N"
        )
    else:
        chosen = flow_runs.settings_of_versions(["champion"], preset, input, set)
        flow_runs.require_input(chosen.config.source)
        flow_runs.require_model_files(
            chosen.config.models, chosen.config.classification, chosen.config.vectors
        )
        _show_run(
            flow_runs.run_version_flow(
                "promote_only",
                chosen,
                preset,
                input,
                set or [],
            ),
            json,
        )


def rescore(
    all: Annotated[bool, typer.Option("--all", help="Also score all former champions.")] = False,
    input: VersionInput = None,
    preset: VersionPreset = "",
    set: Set = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Score the champion on each month's new reviews, to see if it gets worse.

    Without --input: on the files added since then to the folders of the champion's data.

    \b
    Example:
      reviewlm version rescore --all
    """
    chosen = flow_runs.settings_of_versions(["champion"], preset, input, set)
    flow_runs.require_champion(chosen)
    flow_runs.require_input(chosen.config.source)
    versions = "all" if all else "champion"
    result = flow_runs.run_version_flow(
        "rescore",
        chosen,
        preset,
        input,
        set or [],
        versions=versions,
    )
    terminal.show_rows(result["months"], "Open bits per byte by month")
    terminal.say(f"Version {result['version']}: {result['sentence']}.")
    terminal.last_line(result, json)


def sweep(
    model: options.NeuralModel = "",
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            help='E.g. "hidden=128..512:log dropout=0..0.5 training.optimizer=adamw|sgd".',
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Trials in all, with earlier runs.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=0, help="New seeds for the best trial.")
    ] = None,
    input: Input = None,
    preset: Preset = "small",
    set: Set = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Search a model's options. --space replaces the preset's; a rerun continues where the last one stopped.

    \b
    Example:
      reviewlm models sweep --model lstm --trials 20
    """
    given = {
        "model": model or None,
        "trials": trials,
        "seeds": seeds,
    }
    chosen = [f"sweep.{name}={value}" for name, value in given.items() if value is not None]
    if space is not None:
        chosen += ["sweep.space={}", *(f"sweep.space.{word}" for word in space.split())]
    result = flow_runs.run_flow(
        "sweep",
        preset,
        input,
        [*(set or []), *chosen],
        _check_sweep,
    )
    _show_sweep(result)
    terminal.last_line(result, json)


def _check_sweep(config: RunConfig) -> None:
    from reviewlm.tasks.fitting.search_space import chosen_model, parse_space

    parse_space(chosen_model(config.models, config.sweep.model)[1], config.sweep.space)


def _show_sweep(result: Mapping[str, Any]) -> None:
    rows = result["trials"]
    complete = sorted(
        (row for row in rows if row["perplexity"] is not None), key=lambda row: row["perplexity"]
    )
    left_out = ("state", "reached", "reason", "mlflow_run_id")
    shown = []
    for row in complete[:BEST_SHOWN]:
        shown.append({name: value for name, value in row.items() if name not in left_out})

    counts = {}
    for state in ("complete", "pruned", "failed"):
        counts[state] = sum(row["state"] == state for row in rows)

    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    terminal.show_rows(shown, f"{summary}; the best by validation perplexity")
    for row in rows:
        if row["state"] == "failed":
            terminal.say(f"Trial {row['trial']} failed: {row['reason']}")

    if result["importances"]:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in result["importances"].items())
        terminal.say(f"Share of the variance (fANOVA): {shares}")

    terminal.say(
        f"\nWinner: trial {result['winner']['trial']}, {_perplexity(result['winner'])}. In a preset:\n"
    )
    terminal.say(f'[models."{result["model"]}"]\n{result["toml"]}')
    terminal.say("\nor: " + " ".join(f"--set {override}" for override in result["overrides"]))
    terminal.say(f"MLflow run: {result['mlflow_run_id']}")


def _perplexity(winner: Mapping[str, Any]) -> str:
    """Return the winner's perplexity with its confidence interval; failed seeds are mentioned."""
    figure = winner.get("perplexity")
    ended = winner["seeds"]
    failed = winner["seeds_failed"]
    seeds = f"{ended} fresh seeds" + (f", {failed} more failed" if failed else "")
    if figure is None:
        lucky = f"validation perplexity {winner['search_perplexity']:.4g}"
        return f"{lucky}, which is too optimistic: it is the best of all trials ({seeds})"

    interval = ""
    if "low" in winner:
        interval = f" [{winner['low']:.4g}, {winner['high']:.4g}] ({winner['confidence']:.0%})"

    return f"validation perplexity {figure:.4g}{interval}, {seeds}"
