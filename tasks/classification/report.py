"""Write the page of a run of classifiers to the home folder, log it to MLflow and link it in Prefect."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl
from prefect.artifacts import create_link_artifact
from prefect.context import TaskRunContext

from core.config.run_config import RunConfig
from core.markdown import code
from core.output import write_output
from core.processes.interrupts import during
from evaluation.classification.report import classifier_report
from evaluation.classification.results import ClassificationResults, ClassifierResults
from evaluation.classification.tables import headline
from evaluation.plots.curves import journal_lines
from evaluation.reports.run_record import REPORTS
from tasks.classification.compare import Compared, MeasuredClassifier, predicted
from tasks.classification.labels import LABELLINGS
from tasks.classification.predict import predictions_of
from tasks.classification.promote import documents_with_words
from tasks.data.prepare import Prepared
from tasks.promotion.evidence import megabytes
from tasks.promotion.promote import Promotion
from tasks.stage import MINUTE, stage, started
from tasks.tracking.track import JOURNAL, tracker_of, tracking_was_away

REPORT_FILE = "classifiers.html"
"""Not `report.html`, which is the page of a run of language models."""
log = logging.getLogger(__name__)


@stage("report of classifiers", retry_if=tracking_was_away)
@during("report")
def write_classifier_report(
    config: RunConfig, prepared: Prepared, compared: Compared, promotion: Promotion, run_id: str
) -> str:
    """Write `reports/<run>/classifiers.html`, log it to the flow's MLflow run, link it in Prefect; return its path."""
    results = results_of(config, prepared, compared, promotion, run_id)
    file = config.home / REPORTS / run_id / REPORT_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    write_output(file, classifier_report(results))
    tracker = tracker_of(config)
    tracker.log_text(run_id, file.read_text(encoding="utf-8"), REPORT_FILE)
    if TaskRunContext.get() is not None:
        where = f"File: {code(str(file))}"
        create_link_artifact(
            link=tracker.link(run_id, REPORT_FILE), link_text=headline(results), key="report", description=where
        )
    return str(file)


def results_of(
    config: RunConfig, prepared: Prepared, compared: Compared, promotion: Promotion, run_id: str
) -> ClassificationResults:
    """Return what the page shows."""
    labels, documents = LABELLINGS[config.classification.label].names, documents_with_words(prepared.clean)
    tracker, splits = tracker_of(config), prepared.clean.facts["splits"]
    return ClassificationResults(
        [_classifier(model, labels, documents) for model in compared.models],
        promotion.challenger,
        config.classification.baseline,
        texts=_texts(prepared),
        documents=documents,
        decision=promotion.decision,
        run={
            "predicted": config.classification.label, "preset": config.preset, "data": config.source.title,
            "begun": f"{started():{MINUTE}}",
        },
        data={
            **{f"{split} reviews": f"{splits[split]['reviews']:,}" for split in ("train", "validation", "test")},
            "labels": ", ".join(labels), "digest": prepared.clean.digest,
        },
        links={"MLflow run": tracker.link(run_id)},
        min_slice_reviews=config.evaluation.min_slice_reviews, confidence=config.evaluation.confidence,
        resamples=config.evaluation.resamples, seed=config.evaluation.seed,
    )  # fmt: skip


def _classifier(model: MeasuredClassifier, labels: tuple[str, ...], documents: pl.DataFrame) -> ClassifierResults:
    fit = model.fitted.artifact
    costs = {
        "parameters": _whole(fit.facts["summary"].get("parameters")), "fitted in, seconds": fit.manifest.get("seconds"),
        "megabytes": megabytes(model.fitted.bundle), "reviews per second": model.test.facts["reviews_per_second"],
    }  # fmt: skip
    answers = predicted(labels, predictions_of(model.test), documents)
    kept = {name: value for name, value in costs.items() if value is not None}
    return ClassifierResults(model.name, answers, model.fitted.spec.kind, kept, _curve(fit.folder))


def _curve(folder: Path) -> list[tuple[float, float]]:
    """Return the points of a fit's learning curve; none for a fit without a gradient."""
    lines = journal_lines(folder / JOURNAL)
    named = "validation/accuracy"
    return [(float(line["step"]), float(line[named])) for line in lines if line.get(named) is not None]


def _texts(prepared: Prepared) -> dict[str, str]:
    rows = pl.scan_parquet(prepared.clean.folder / "clean.parquet").filter(pl.col("split") == "test")
    return dict(rows.select("review_id", "text").collect().iter_rows())


def _whole(count: float | None) -> int | None:
    return None if count is None else int(count)
