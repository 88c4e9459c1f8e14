"""Define the commands that start and stop the services behind the web pages."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from reviewlm import terminal
from reviewlm.options import Json, Preset, Set, configured

app = typer.Typer(no_args_is_help=True, help="Start and stop the Prefect server, the MLflow UI and a worker.")


@app.command("start")
def ui_start(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Start Prefect server, MLflow UI and workers, create pools and limits, deploy, and print the addresses."""
    from core.processes import services
    from tracking.client import require_whole
    from tracking.moved_home import DATABASE

    config = configured(preset, set)
    require_whole(f"sqlite:///{config.home / DATABASE}")
    terminal.show_facts(result := services.start(config.home))
    if sys.stdout.isatty() and not json:  # a password must not end up in a file or a log
        terminal.say()
        terminal.show_facts(_login(config.home))
    terminal.last_line(result, json)


@app.command("password")
def ui_password(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Show the login data of the Prefect and MLflow pages."""
    config = configured(preset, set)
    terminal.show_facts(result := _login(config.home))
    terminal.last_line(result, json)


def _login(home: Path) -> dict[str, str]:
    """Return the login data: MLflow asks for user and password, Prefect for both in one field."""
    from core.credentials import USER, credentials_of, password_of

    return {"user": USER, "password": password_of(home), "for Prefect": credentials_of(home)}


@app.command("stop")
def ui_stop(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Stop the processes that `ui start` started."""
    from core.processes import services

    config = configured(preset, set)
    terminal.show_facts(result := {"stopped": ", ".join(services.stop(config.home)) or "nothing was running"})
    terminal.last_line(result, json)
