"""Define the command that checks the machine and the home folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import typer

from reviewlm import terminal
from reviewlm.options import Json, Preset, Set

app = typer.Typer()
FAILED = 1
"""Exit code if there is a problem."""


@app.command()
def doctor(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Check packages, disk, memory, GPU, home folder, databases and servers, and say what to do. Changes nothing."""
    from core.config.presets import load_config
    from reviewlm.doctor.examine import examine

    lines = examine(load_config(preset, set or []))
    for line in lines:
        terminal.say(line.in_words())
    counts = Counter(line.state for line in lines)
    problems = counts["problem"]
    terminal.say(f"{problems} problems, {counts['warning']} warnings, {counts['ok']} ok")
    terminal.last_line({"problems": problems, "warnings": counts["warning"], "checks": [*map(asdict, lines)]}, json)
    if problems:
        raise typer.Exit(FAILED)
