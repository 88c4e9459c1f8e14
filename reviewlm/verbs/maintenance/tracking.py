"""Define the commands about writes that wait for MLflow."""

from __future__ import annotations

from typing import Any

import typer

from core.errors import without_password
from reviewlm import terminal
from reviewlm.options import Json, Preset, Set, configured

app = typer.Typer(no_args_is_help=True, help="Show and send writes that are queued for MLflow.")


@app.command()
def waiting(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """List the queued writes by MLflow address, and those that MLflow rejected."""
    config = configured(preset, set)
    from tracking.runs.outbox import outboxes

    _show([_row(outbox) for outbox in outboxes(config.home / "outbox")], json)


@app.command()
def flush(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Send the queued writes now. (The next run does so too.)"""
    config = configured(preset, set)
    from tracking.runs.outbox import outboxes
    from tracking.runs.runs import Tracker

    queues = outboxes(config.home / "outbox")
    for outbox in queues:
        Tracker(outbox.uri, outbox.experiment, config.home / "mlartifacts").sync()
    _show([_row(outbox) for outbox in queues], json)


def _row(outbox: Any) -> dict[str, Any]:
    return {
        "store": without_password(outbox.uri), "experiment": outbox.experiment, "waiting": outbox.waiting(),
        "refused": len(outbox.refused()),
    }


def _show(rows: list[dict[str, Any]], json: bool) -> None:
    terminal.show_rows(rows, empty="No writes to MLflow are queued, and none was rejected.")
    terminal.last_line({"waiting": sum(row["waiting"] for row in rows), "stores": rows}, json)
