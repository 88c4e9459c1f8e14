"""Define the commands that start and stop the web pages, and send what still waits for MLflow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from reviewlm import terminal
from reviewlm.options import Json, Preset, Set, configured

ui_app = typer.Typer(no_args_is_help=True, help="Start and stop the Prefect server, the MLflow UI and a worker.")
tracking_app = typer.Typer(no_args_is_help=True, help="Show and send writes that are queued for MLflow.")


@ui_app.command("start")
def ui_start(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Start Prefect server, MLflow UI and workers, create pools and limits, deploy, and print the addresses."""
    from core.processes import services
    from tracking.client import require_whole
    from tracking.moved_home import ARTIFACTS, DATABASE
    from tracking.runs.runs import Tracker

    config = configured(preset, set)
    require_whole(database := f"sqlite:///{config.home / DATABASE}")
    terminal.say("Starting the pages; the first start takes about a minute.")
    result = services.start(config.home, _show_step)
    runs = Tracker(database, config.execution.experiment, config.home / ARTIFACTS, ui=result["MLflow"]).runs_page
    terminal.say()
    terminal.show_facts({name: value for name, value in result.items() if name != "MLflow"})
    terminal.say(f"\nOpen the runs in MLflow: {runs}", whole=True)  # its address alone opens a welcome page
    if sys.stdout.isatty() and not json:  # a password must not end up in a file or a log
        terminal.say()
        terminal.show_facts(_login(config.home))
    terminal.last_line({**result, "runs": runs}, json)


def _show_step(step: str, seconds: float | None, note: str) -> None:
    """Write the name of a step when it begins, and the rest of the line when it ends."""
    sys.stdout.write(f"  {step} … " if seconds is None else f"{seconds:.1f} s{f', {note}' if note else ''}\n")
    sys.stdout.flush()


@ui_app.command("password")
def ui_password(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Show the login data of the Prefect and MLflow pages."""
    config = configured(preset, set)
    terminal.show_facts(result := _login(config.home))
    terminal.last_line(result, json)


def _login(home: Path) -> dict[str, str]:
    """Return the login data: MLflow asks for user and password, Prefect for both in one field."""
    from core.credentials import USER, credentials_of, password_of

    return {"user": USER, "password": password_of(home), "for Prefect": credentials_of(home)}


@ui_app.command("stop")
def ui_stop(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Stop the processes that `ui start` started."""
    from core.processes import services

    config = configured(preset, set)
    terminal.show_facts(result := {"stopped": ", ".join(services.stop(config.home)) or "nothing was running"})
    terminal.last_line(result, json)


@tracking_app.command()
def waiting(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """List the queued writes by MLflow address, and those that MLflow rejected."""
    config = configured(preset, set)
    from tracking.runs.outbox import outboxes

    _show([_row(outbox) for outbox in outboxes(config.home / "outbox")], json)


@tracking_app.command()
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
    from core.errors import without_password

    return {
        "store": without_password(outbox.uri), "experiment": outbox.experiment, "waiting": outbox.waiting(),
        "refused": len(outbox.refused()),
    }


def _show(rows: list[dict[str, Any]], json: bool) -> None:
    terminal.show_rows(rows)
    terminal.last_line({"waiting": sum(row["waiting"] for row in rows), "stores": rows}, json)
