"""Write the report of a run to the home folder, log it to MLflow and link it in Prefect."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import Path

from prefect.artifacts import create_link_artifact
from prefect.context import TaskRunContext

from core.config.run_config import RunConfig
from core.errors import disk_errors
from core.markdown import code
from core.output import write_output
from core.processes.interrupts import during
from core.store import Artifact
from evaluation.reports.all_runs import write_all_runs
from evaluation.reports.model_card import CARD_FILE, model_card
from evaluation.reports.report import report
from evaluation.reports.report_pictures import DrawnFigure, with_decision
from evaluation.reports.report_words import headline
from evaluation.reports.run_record import RECORD_FILE, REPORT_FILE, REPORTS, record_of
from evaluation.reports.run_results import RunResults
from tasks.data.prepare import Prepared
from tasks.evaluation.compare import Evaluated
from tasks.planning.plan import RunPlan
from tasks.promotion.promote import Promotion
from tasks.reporting.figures import report_figures
from tasks.reporting.run_results import results_of
from tasks.stage import stage, step
from tasks.tracking.track import tracker_of, tracking_was_away

log = logging.getLogger(__name__)
LATEST, FIGURES = "latest", "figures"


@contextmanager
def figures_beside(config: RunConfig, evaluated: Evaluated, winner: str) -> Iterator[None]:
    """Draw the figures of the report in a thread during the block, where the gate waits for a fresh process.

    What goes wrong here is only logged: `write_report` asks for the same figures, and so draws them once more.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="figures") as beside:
        drawn = beside.submit(copy_context().run, report_figures, config, evaluated, winner)
        yield
    if (failed := drawn.exception()) is not None:
        log.debug("the figures are drawn with the report, because it failed beside the gate: %r", failed)


def make_report(
    config: RunConfig, dataset: Artifact, prepared: Prepared, evaluated: Evaluated, promotion: Promotion | None,
    run_id: str, made: RunPlan | None = None,
) -> str:  # fmt: skip
    """Write the report of a run and return its path.

    *made* is the plan of a run for a time budget. If writing fails, log a warning with the reason and return an empty
    path: the models are scored and the champion is chosen, so the run must not fail.
    """
    with step("report", "write the page with the figures"):
        future = write_report.submit(config, dataset, prepared, evaluated, promotion, run_id, made)
        future.wait()
    if future.state.is_completed():
        return str(future.result())
    log.warning("there is no report of this run: %s. `reviewlm evaluate` writes another", future.state.message)
    return ""


@stage("report", retry_if=tracking_was_away)
@during("report")
def write_report(
    config: RunConfig, dataset: Artifact, prepared: Prepared, evaluated: Evaluated, promotion: Promotion | None,
    run_id: str, made: RunPlan | None = None,
) -> str:  # fmt: skip
    """Write `reports/<run>/report.html` and its figures, log both to the flow's MLflow run, and link it in Prefect.

    The page of all runs is written again.
    """
    results = results_of(config, dataset, prepared, evaluated, promotion, run_id, made)
    pictures = with_decision(report_figures(config, evaluated, results.winner), results)
    file = write_files(results, pictures, config.home / REPORTS, run_id)
    tracker = tracker_of(config)
    tracker.log_text(run_id, file.read_text(encoding="utf-8"), REPORT_FILE)
    tracker.log_folder(run_id, file.parent / FIGURES, "plots")
    if results.version is not None:
        card = model_card(results, config.promotion.model_name)
        write_output(file.with_name(CARD_FILE), card)
        tracker.log_text(evaluated.named(results.winner).fitted.run_id, card, CARD_FILE)
    write_all_runs(config.home / REPORTS)
    if TaskRunContext.get() is not None:
        link = tracker.link(run_id, REPORT_FILE)  # a browser opens no file from a page of Prefect
        where = f"File: {code(str(file))}"
        create_link_artifact(link=link, link_text=headline(results), key="report", description=where)
    log.debug("report: %s (%.1f MB)", file, file.stat().st_size / 1e6)
    return str(file)


def write_files(results: RunResults, pictures: Sequence[DrawnFigure], folder: Path, name: str) -> Path:
    """Write a report and its figures to *folder*/*name*, link *folder*/latest to it, and return the report's path.

    Raises:
        StoreFull, NotWritable: The disk is full, or the folder cannot be written.
    """
    place = folder / name
    with disk_errors(folder):
        (place / FIGURES).mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            (place / FIGURES / f"{picture.name}.png").write_bytes(picture.png)
        unfinished = place / f".{REPORT_FILE}.{os.getpid()}"
        unfinished.write_text(report(results, pictures), encoding="utf-8")
        unfinished.replace(place / REPORT_FILE)
        write_output(place / RECORD_FILE, json.dumps(record_of(results), indent=1, ensure_ascii=False) + "\n")
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
