"""Write the page of a run of classifiers to the home folder, log it to MLflow and link it in Prefect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.manifest import seconds_of
from reviewlm.core.processes.interrupts import during
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.account import Account
from reviewlm.corpus.splitting.split import scan_split
from reviewlm.evaluation.classification.answers import Predicted
from reviewlm.evaluation.classification.report import (
    ClassificationResults,
    classifier_page,
    headline,
)
from reviewlm.evaluation.classification.slices import accuracy_by_slice
from reviewlm.evaluation.reports.report_pictures import (
    WrittenDrawing,
    read_drawings,
    write_drawings,
)
from reviewlm.tasks.classification.compare import Compared, group_predictions
from reviewlm.tasks.classification.predict import predictions_of
from reviewlm.tasks.data.documents import documents_with_words
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.evaluation.evaluate import megabytes
from reviewlm.tasks.execution.stage import MINUTE, run_stage, stage_task, started
from reviewlm.tasks.fitting.job import MeasuredModel
from reviewlm.tasks.promotion.promote import Promotion
from reviewlm.tasks.records.run_report import publish_page
from reviewlm.tasks.records.track import tracker_of, tracking_was_away

REPORT_FILE = "classifiers.html"
"""Not `report.html`, which is the page of a run of language models."""


@stage_task("report of classifiers", retry_if=tracking_was_away)
@during("report")
def write_classifier_report(
    config: RunConfig,
    prepared: Prepared,
    compared: Compared,
    promotion: Promotion,
    run_id: str,
    account: Account,
) -> str:
    """Write `reports/<run>/classifiers.html`, log it to the flow's MLflow run, link it in Prefect; return its path."""
    labels = compared.models[0].fitted.spec.labels
    documents = documents_with_words(prepared.clean)
    splits = prepared.clean.facts["splits"]
    chosen = config.evaluation
    baseline = config.classification.baseline
    answers: dict[str, Predicted] = {}
    for model in compared.models:
        answers[model.name] = group_predictions(labels, predictions_of(model.test), documents)

    compared_two = {name: answers[name] for name in (promotion.challenger, baseline)}
    slices = accuracy_by_slice(
        compared_two, documents, min_reviews=chosen.min_slice_reviews, confidence=chosen.confidence
    )
    texts = scan_split(prepared.clean.folder, "test").select("review_id", "text").collect()
    run = {"predicted": config.classification.label, "preset": config.preset}
    run["started"] = f"{started():{MINUTE}}"
    total = sum(split["reviews"] for split in splits.values())
    links = {"MLflow run": tracker_of(config.workspace).link(run_id)}
    costs = {model.name: _costs(model) for model in compared.models}
    results = ClassificationResults(
        compared.rows,
        answers,
        promotion.challenger,
        baseline,
        slices,
        texts=dict(texts.iter_rows()),
        costs=costs,
        decision=promotion.decision,
        run=run,
        data=_data(prepared, compared, account),
        links=links,
        confidence=chosen.confidence,
        source=f"{config.source.title}, {total:,} reviews",
        name=config.classification.promotion.model_name,
        version=promotion.version,
    )
    drawings = _draw_pictures(config.workspace, results, compared)
    page = classifier_page(results, drawings).to_html()
    return str(
        publish_page(
            config.workspace,
            run_id,
            REPORT_FILE,
            page,
            headline(results),
        )
    )


def _draw_pictures(
    workspace: Workspace,
    results: ClassificationResults,
    compared: Compared,
) -> list[WrittenDrawing]:
    """Return the figures of the page; a run that has the same results as another one takes them from the store."""
    options = {"winner": results.winner, "baseline": results.baseline}

    def make(work: Path) -> dict[str, Any]:
        from reviewlm.evaluation.classification.pictures import drawings_of

        write_drawings(list(drawings_of(results)), work)
        return {}

    inputs = {"comparison": compared.artifact.digest}
    label = f"of {len(compared.models)} classifiers"
    built = run_stage(
        workspace,
        "pictures",
        options,
        inputs,
        make,
        label,
    )
    return read_drawings(built.artifact.folder)


def _data(
    prepared: Prepared,
    compared: Compared,
    account: Account,
) -> dict[str, Any]:
    """Return the rows of the page's table about the data."""
    splits = prepared.clean.facts["splits"]
    rows: dict[str, Any] = {}
    for split, count in count_used(compared).items():
        rows[f"{split} reviews"] = of_all(count, splits[split]["reviews"])

    rows["labels"] = ", ".join(compared.models[0].fitted.spec.labels)
    for entry in account.odd:
        rows[entry.title] = f"{entry.count:,} reviews"

    rows["digest"] = prepared.clean.digest
    return rows


def _costs(model: MeasuredModel) -> dict[str, Any]:
    """Return the costs of a classifier, by the names of the page's columns."""
    fit = model.fitted.artifact
    costs: dict[str, Any] = {"kind": model.fitted.spec.kind}
    costs["parameters"] = round(fit.facts["summary"].get("parameters", 0))
    costs["fitted in, seconds"] = seconds_of(fit.manifest)
    costs["megabytes"] = megabytes(model.fitted.bundle)
    costs["reviews per second"] = model.test.facts["reviews_per_second"]
    return costs


def count_used(compared: Compared) -> dict[str, int]:
    """Return the number of labelled reviews of each split that the classifiers were fitted, chosen and tested on."""
    first = compared.models[0]
    return {
        "train": int(first.fitted.artifact.facts["summary"]["train_reviews"]),
        "validation": first.validation.facts["reviews"],
        "test": first.test.facts["reviews"],
    }


def of_all(count: int, total: int) -> str:
    """Return a number of labelled reviews and, if it is smaller, what it is a part of."""
    if count >= total:
        return f"{count:,}"
    return f"{count:,} of {total:,} have a label that is used"
