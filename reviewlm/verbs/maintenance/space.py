"""Define the command that frees space in the home folder."""

from __future__ import annotations

from typing import Annotated

import typer

from reviewlm import terminal
from reviewlm.options import Json, Preset, Set, configured
from reviewlm.shown.layout import size

app = typer.Typer()


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go; change nothing.")] = False,
    preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Remove what no registered version, no recent run and no running process needs.

    `--set upkeep.runs=3` keeps what the last three runs used, `--set upkeep.versions=5` the lineages of five versions.
    """
    config = configured(preset, set)
    from tasks.upkeep.collect import collect

    done = collect(config, dry_run).to_dict()
    goes = "would go" if dry_run else "gone"
    terminal.show_rows([
        {"what": row["kind"], "kept": row["kept"], "size": size(row["kept_bytes"]), goes: row["gone"],
         f"size {goes}": size(row["gone_bytes"])} for row in done["kinds"]
    ])  # fmt: skip
    reasons = done["results_kept_because"].items()
    terminal.show_rows([{"results kept as": why, "number": count} for why, count in reasons])
    for note in done["notes"]:
        terminal.say(f"{note[0].upper()}{note[1:]}.")
    before, after = (size(done[f"bytes_{when}"]) for when in ("before", "after"))
    terminal.say(f"{config.home}: {before} before, {after} {'afterwards; nothing was changed' if dry_run else 'now'}.")
    terminal.last_line(done, json)
