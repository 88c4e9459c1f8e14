"""Define the commands that run the whole pipeline or a part of it."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from reviewlm import shown_results, terminal
from reviewlm.options import (
    Input,
    Json,
    Open,
    Preset,
    Rebuild,
    Set,
    Verbose,
    run_flow,
    with_rebuild,
)

Minutes = Annotated[float | None, typer.Option(
    "--minutes", min=1, max=100_000, metavar="MINUTES",
    help="Choose vocabulary, network and length of training so that the whole run takes this long. The preset is then "
    "`minutes`, or one that extends it.",
)]  # fmt: skip
Until = Annotated[Literal["prepare", "train", "evaluate"] | None, typer.Option("--until", help=
    "Stop after this part: prepare: token streams; train: fitted models; evaluate: the table that compares them.",
)]  # fmt: skip


def run(
    context: typer.Context, input: Input = None, minutes: Minutes = None, until: Until = None,
    preset: Preset = "small", set: Set = None, rebuild: Rebuild = None,
    verbose: Verbose = False, open: Open = False, json: Json = False,
) -> None:
    """Run the pipeline, from reviews to a registered model.

    Without --input: on the embedded corpus. Before the end (--until), nothing is registered.
    """
    overrides = with_rebuild(set, rebuild)
    if minutes is None:
        result = run_flow("retrain", preset, input, overrides, until=until)
    elif until:
        raise typer.BadParameter("it plans a whole run", param_hint="--minutes")
    else:
        from tasks.planning.rule import FRAME, require_frame

        default = getattr(context.get_parameter_source("preset"), "name", "") == "DEFAULT"
        result = run_flow("retrain", FRAME if default else preset, input, overrides, require_frame, minutes=minutes)
    show = {None: shown_results.show_run, "evaluate": shown_results.show_models}.get(until, terminal.show_facts)
    show(result)
    shown_results.show_report(result, open)
    terminal.last_line(result, json)


def demo(
    set: Set = None, rebuild: Rebuild = None, verbose: Verbose = False, open: Open = False,
    json: Json = False,
) -> None:
    """Run the pipeline on a small corpus, which is embedded."""
    result = run_flow("retrain", "demo", None, with_rebuild(set, rebuild))
    shown_results.show_run(result)
    shown_results.show_report(result, open)
    terminal.last_line(result, json)


def ingest(
    input: Input = None, preset: Preset = "small", set: Set = None, rebuild: Rebuild = None,
    verbose: Verbose = False, json: Json = False,
) -> None:
    """Read and check reviews; bad records go to the quarantine."""
    terminal.show_facts(result := run_flow("ingest_only", preset, input, with_rebuild(set, rebuild)))
    terminal.last_line(result, json)
