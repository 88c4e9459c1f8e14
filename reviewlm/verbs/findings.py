"""What a verb has found out, handed over: tables on the terminal, files in a folder, a run in MLflow, one JSON line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviewlm import terminal
from reviewlm.errors import ConfigError, disk_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reviewlm.config import RunConfig

Out = Annotated[Path | None, typer.Option("--out", help="Folder for tables (CSV) and pictures (PNG).")]
Track = Annotated[bool, typer.Option("--track", help="Write a run with figures, tables and pictures to MLflow.")]
ANOTHER_PLACE = "free some space, or name another place"


@dataclass(frozen=True)
class Finding:
    """Tables, pictures and figures.

    Args:
        name: Of the run in MLflow.
        settings: What was asked.
        metrics: Figures by name.
        tables: Rows by the name of their file.
        figures: Pictures by the name of their file.
        titles: Headings of tables on the terminal.
    """

    name: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]
    figures: Mapping[str, Figure]
    titles: Mapping[str, str] = field(default_factory=dict)


def require_folder(out: Path | None) -> None:
    """Refuse a folder that cannot be one, before any work."""
    if out is not None and out.exists() and not out.is_dir():
        raise ConfigError("There is a file in the way of the folder", where="--out", value=out)


def hand_over(config: RunConfig | None, found: Finding, out: Path | None, track: bool, as_json: bool) -> None:
    """Show the tables, write the files and the run that were asked for, and end with the JSON line.

    Args:
        config: Says where MLflow is; needed with *track* only.
        found: What there is.
        out: Folder for files, if any.
        track: Write a run.
        as_json: End with one line of JSON.
    """
    result: dict[str, Any] = {name: list(rows) for name, rows in found.tables.items()}
    for name, rows in found.tables.items():
        terminal.show_rows(rows, found.titles.get(name, ""))
    if out is not None:
        with disk_errors(out, ANOTHER_PLACE):
            result["files"] = [str(path) for path in _write(found, out)]
        terminal.say(f"Written to {out}: {', '.join(Path(name).name for name in result['files'])}")
    if track and config is not None:
        from tasks.memory_runs import track as to_mlflow

        result["mlflow_run_id"] = to_mlflow(
            config, found.name, found.settings, found.metrics, found.tables, found.figures
        )
        terminal.say(f"MLflow run: {result['mlflow_run_id']}")
    terminal.last_line(result, as_json)


def _write(found: Finding, folder: Path) -> list[Path]:
    import polars as pl

    from evaluation.figures import save

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, rows in found.tables.items():
        files.append(folder / f"{name}.csv")
        text = pl.DataFrame(rows, infer_schema_length=None, strict=False).write_csv()
        files[-1].write_text(text, encoding="utf-8")  # not by polars, whose errors of a full disk have no number
    for name, figure in found.figures.items():
        files.append(folder / f"{name}.png")
        save(figure, files[-1])
    return files
