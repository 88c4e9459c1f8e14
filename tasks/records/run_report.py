"""Write the report of a run to the home folder, log it to MLflow and link it in Prefect."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact
from prefect.context import TaskRunContext

from reviewlm.core.errors import disk_errors
from reviewlm.core.output import code, write_output
from reviewlm.core.processes.interrupts import during
from reviewlm.core.workspace import Workspace
from reviewlm.evaluation.reports.document import PALETTE
from reviewlm.evaluation.reports.report import run_page
from reviewlm.evaluation.reports.report_pictures import (
    WrittenDrawing,
    drawings_of,
    read_drawings,
    write_drawings,
)
from reviewlm.evaluation.reports.report_tables import headline
from reviewlm.evaluation.reports.run_record import RECORD_FILE, REPORT_FILE, REPORTS, record_of
from reviewlm.evaluation.reports.run_results import RunResults
from reviewlm.tasks.evaluation.intervals import Evaluated
from reviewlm.tasks.execution.stage import run_stage, stage_task, step
from reviewlm.tasks.promotion.promote import CARD_FILE
from reviewlm.tasks.records.finished_run import FinishedRun
from reviewlm.tasks.records.report_results import results_of
from reviewlm.tasks.records.track import tracker_of, tracking_was_away
from reviewlm.tracking import tags as tag

log = logging.getLogger(__name__)
LATEST = "latest"
FIGURES = "figures"


def make_report(run: FinishedRun) -> str:
    """Write the report of a run and return its path.

    If writing fails, log a warning with the reason and return an empty path: the models are scored and the champion is
    chosen, so the run must not fail.
    """
    with step("report", "write the page with the figures"):
        future = write_report.submit(run)
        future.wait()

    if future.state.is_completed():
        return str(future.result())

    log.warning(
        "this run has no report: %s. `reviewlm run --until evaluate` writes another",
        future.state.message,
    )
    return ""


@stage_task("report", retry_if=tracking_was_away)
@during("report")
def write_report(run: FinishedRun) -> str:
    """Write `reports/<run>/report.html` and its figures, log both to the flow's MLflow run, and link it in Prefect."""
    workspace = run.config.workspace
    results = results_of(run)
    drawings = draw_pictures(workspace, results, run.evaluated)
    file = write_files(results, drawings, workspace.home / REPORTS, run.run_id)
    tracker = tracker_of(workspace)
    tracker.log_folder(run.run_id, file.parent / FIGURES, "plots")
    # MLflow's charts show the report's colours.
    for name, colour in zip(results.order, PALETTE, strict=False):
        model = run.evaluated.model_named(name)
        tracker.set_tags(model.fitted.run_id, {tag.RUN_COLOR: colour})

    if results.version is not None:
        card = file.with_name(CARD_FILE).read_text(encoding="utf-8")
        winner = run.evaluated.model_named(results.winner)
        tracker.log_text(winner.fitted.run_id, card, CARD_FILE)

    _show_page(workspace, run.run_id, file, headline(results))
    log.debug("report: %s (%.1f MB)", file, file.stat().st_size / 1e6)
    return str(file)


def draw_pictures(
    workspace: Workspace,
    results: RunResults,
    evaluated: Evaluated,
) -> list[WrittenDrawing]:
    """Return the figures of a report; a run that has the same results as another one takes them from the store."""
    options = {
        "winner": results.winner,
        "baseline": results.baseline,
        "confidence": results.confidence,
    }
    inputs = {"comparison": evaluated.artifact.digest}
    for model in evaluated.models:
        inputs[f"audit {model.name}"] = model.audit.digest

    for shown in results.models:
        inputs |= {f"{what} {shown.name}": digest for what, digest in shown.digests.items()}

    def make(work: Path) -> dict[str, Any]:
        write_drawings(drawings_of(results), work)
        return {}

    label = f"of {len(results.models)} models"
    built = run_stage(
        workspace,
        "pictures",
        options,
        inputs,
        make,
        label,
    )
    return read_drawings(built.artifact.folder)


def publish_page(
    workspace: Workspace,
    run_id: str,
    name: str,
    page: str,
    title: str,
) -> Path:
    """Write a page to `reports/<run>/`, log it to the flow's MLflow run, link it in Prefect, and return its path."""
    file = workspace.home / REPORTS / run_id / name
    file.parent.mkdir(parents=True, exist_ok=True)
    write_output(file, page)
    _show_page(workspace, run_id, file, title)
    return file


def _show_page(
    workspace: Workspace,
    run_id: str,
    file: Path,
    title: str,
) -> None:
    tracker = tracker_of(workspace)
    tracker.log_text(run_id, file.read_text(encoding="utf-8"), file.name)
    if TaskRunContext.get() is not None:
        link = tracker.link(run_id, file.name)  # a browser opens no file from a page of Prefect
        about = f"File: {code(str(file))}"
        create_link_artifact(
            link=link,
            link_text=title,
            key="report",
            description=about,
        )


def write_files(
    results: RunResults,
    drawings: Sequence[WrittenDrawing],
    folder: Path,
    name: str,
) -> Path:
    """Write the report to *folder*/*name*, link *folder*/latest to it, and return the page's path.

    The folder gets the page, its figures as images, the run's record and, of a registered version, the model card.

    Raises:
        StoreFull, NotWritable: The disk is full, or the folder cannot be written.
    """
    place = folder / name
    page = run_page(results, drawings)
    with disk_errors(folder):
        (place / FIGURES).mkdir(parents=True, exist_ok=True)
        write_output(place / REPORT_FILE, page.to_html())
        for drawing in drawings:
            (place / FIGURES / f"{drawing.name}.png").write_bytes(drawing.png)
        record = json.dumps(record_of(results), indent=1, ensure_ascii=False)
        write_output(place / RECORD_FILE, f"{record}\n")
        if results.version is not None:
            write_output(place / CARD_FILE, page.to_markdown())

    _point_to(folder, name)
    return place / REPORT_FILE


def _point_to(folder: Path, name: str) -> None:
    """Link *folder*/latest to a report. Ignore file systems without symbolic links: no code depends on this one."""
    pointer = folder / f".{LATEST}.{os.getpid()}"
    with suppress(OSError):
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(name, target_is_directory=True)
        pointer.replace(folder / LATEST)
    with suppress(OSError):
        pointer.unlink(missing_ok=True)
