"""Verbs that start and stop the services behind the pages."""

from __future__ import annotations

import typer

from reviewlm import terminal
from reviewlm.verbs.options import (
    Json,
    Preset,
    Set,
    configured,
)

app = typer.Typer(no_args_is_help=True, help="Start and stop the Prefect server, the MLflow UI and a worker.")


@app.command("start")
def ui_start(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Start Prefect server, MLflow UI and workers, create pools and limits, deploy, and print the addresses."""
    from reviewlm import services

    config = configured(preset, set)
    terminal.show_facts(result := services.start(config.home))
    terminal.last_line(result, json)


@app.command("stop")
def ui_stop(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Stop exactly what `ui start` started."""
    from reviewlm import services

    config = configured(preset, set)
    terminal.show_facts(result := {"stopped": ", ".join(services.stop(config.home)) or "nothing was running"})
    terminal.last_line(result, json)
