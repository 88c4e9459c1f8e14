"""Define the commands that show what can be configured."""

from __future__ import annotations

import typer

from reviewlm import terminal
from reviewlm.options import Json

app = typer.Typer()


@app.command()
def presets(json: Json = False) -> None:
    """List the presets with their models. A preset is a TOML file with settings for --preset."""
    from core.config.presets import PRESETS, load_config, preset_names, purpose

    found = {name: load_config(name) for name in preset_names()}
    rows = [
        {"preset": name, "purpose": purpose(name), "models": ", ".join(model.name for model in config.models)}
        for name, config in found.items()
    ]
    terminal.show_rows(rows, f"Presets in {PRESETS}")
    terminal.last_line({"presets": rows}, json)
