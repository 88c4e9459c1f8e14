"""Write the results of a command: tables on the terminal, files in a folder, a run in MLflow, one JSON line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ANOTHER_PLACE, disk_errors
from core.output import write_output
from reviewlm import terminal
from reviewlm.options import configured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from core.config.run_config import RunConfig

Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for tables (CSV) and pictures (PNG), which are replaced. Default: no files."),
]
Track = Annotated[bool, typer.Option("--track", help="Write a run with figures, tables and pictures to MLflow.")]
TrackPreset = Annotated[
    str, typer.Option("--preset", help="Preset of config/, or path of a TOML file; only its MLflow address is used.")
]
TrackSet = Annotated[
    list[str] | None, typer.Option("--set", help="Override execution.tracking_uri or another setting. May be repeated.")
]


@dataclass(frozen=True)
class Finding:
    """Results of a command: tables, figures and metrics.

    Args:
        name: Name of the run in MLflow.
        settings: Settings of the command.
        metrics: Metrics by name.
        tables: Rows by file name.
        figures: Figures by file name.
        titles: Headings of the tables on the terminal.
        absent: Names of tables that other findings of this kind have and this one does not.
        data: Description of the data used; empty if no data were used.
    """

    name: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]
    figures: Mapping[str, Figure]
    titles: Mapping[str, str] = field(default_factory=dict)
    absent: Sequence[str] = ()
    data: str = ""


def tracked_at(preset: str, overrides: list[str] | None, track: bool) -> RunConfig | None:
    """Return the configuration that says where MLflow is, or None if no run is wanted. The settings are always checked.

    Raises:
        ConfigError: There is no such preset, or a setting is not valid.
    """
    if track:
        return configured(preset, overrides)
    from core.config.presets import load_config

    load_config(preset, overrides or [])
    return None


def hand_over(config: RunConfig | None, found: Finding, out: Path | None, as_json: bool) -> None:
    """Show the tables, write the requested files and the MLflow run, and end with the JSON line.

    Args:
        config: Says where MLflow is, for a run there; None for no run.
        out: Folder for files, if any.
        as_json: End with one line of JSON.
    """
    result: dict[str, Any] = {name: list(rows) for name, rows in found.tables.items()}
    for name, rows in found.tables.items():
        terminal.show_rows(rows, found.titles.get(name, ""))
    if found.data:
        terminal.say(f"Data: {found.data}.")
        result["data"] = found.data
    write_files(result, out, lambda folder: _write(found, folder))
    if config is not None:
        from tasks.tracking.memory_runs import track as to_mlflow

        result["mlflow_run_id"] = to_mlflow(
            config, found.name, found.settings, found.metrics, found.tables, found.figures
        )
        terminal.say(f"MLflow run: {result['mlflow_run_id']}")
    terminal.last_line(result, as_json)


def write_files(result: dict[str, Any], out: Path | None, write: Callable[[Path], Sequence[Path]]) -> None:
    """Write the files of a result to the requested folder, if any, and add their paths to the result."""
    if out is not None:
        with disk_errors(out, ANOTHER_PLACE):
            result["files"] = [str(path) for path in write(out)]
        terminal.say(f"Written to {out}: {', '.join(Path(name).name for name in result['files'])}")


def _write(found: Finding, folder: Path) -> list[Path]:
    import polars as pl

    from evaluation.plots.curves import save
    from evaluation.reports.spreadsheet import csv_text

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, rows in found.tables.items():
        files.append(folder / f"{name}.csv")
        text = csv_text(pl.DataFrame(rows, infer_schema_length=None, strict=False))
        write_output(files[-1], text)  # not by polars: its errors for a full disk have no errno
    for name, figure in found.figures.items():
        files.append(folder / f"{name}.png")
        save(figure, files[-1])
    for name in found.absent:  # otherwise the table of an earlier run would remain
        (folder / f"{name}.csv").unlink(missing_ok=True)
    return files
