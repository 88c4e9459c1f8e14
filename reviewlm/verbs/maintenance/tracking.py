"""Define the commands about runs that wait for MLflow."""

from __future__ import annotations

from typing import Any

import typer

from core.errors import without_password
from reviewlm import terminal
from reviewlm.options import Json, Preset, Set, configured

app = typer.Typer(no_args_is_help=True, help="Show and publish runs that wait for MLflow.")


@app.command()
def waiting(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Count the waiting runs by MLflow address, and what MLflow rejected."""
    config = configured(preset, set)
    from tracking.runs.record import waiting_runs

    _show(waiting_runs(config.home, without_password), json)


@app.command()
def flush(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Publish the waiting runs now. (The next run does so too.)"""
    config = configured(preset, set)
    from tracking.runs.record import waiting_runs
    from tracking.runs.runs import Tracker

    stores = waiting_runs(config.home)
    for store in stores:
        Tracker(store["store"], store["experiment"], config.home / "mlartifacts").sync()
    left = {(row["store"], row["experiment"]): row for row in waiting_runs(config.home)}
    rows = [store | {"waiting": 0} | left.get((store["store"], store["experiment"]), {}) for store in stores]
    _show([row | {"store": without_password(row["store"])} for row in rows], json)


def _show(rows: list[dict[str, Any]], json: bool) -> None:
    terminal.show_rows(rows, empty="No runs wait for MLflow, and nothing was rejected.")
    terminal.last_line({"waiting": sum(row["waiting"] for row in rows), "stores": rows}, json)
