"""Compare the classifiers of a run, or two registered ones, on the same test reviews; log and summarise the result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import EvaluationConfig
from reviewlm.core.config.sections.other_models import ClassificationConfig
from reviewlm.core.errors import InputError, converted_errors
from reviewlm.core.manifest import seconds_of
from reviewlm.core.store import Artifact
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.account import ACCOUNT, Account
from reviewlm.evaluation.classification.answers import Predicted
from reviewlm.evaluation.classification.compare import classifier_rows
from reviewlm.evaluation.classification.figures import figures
from reviewlm.evaluation.statistics.groups import GROUP, connect_groups
from reviewlm.evaluation.statistics.paired import learnt_notes, nothing_left
from reviewlm.models.classification.bundle import load_classifier
from reviewlm.tasks.classification.field_labels import labels_of_prepared
from reviewlm.tasks.classification.labelling import LABELLINGS
from reviewlm.tasks.classification.predict import predict_bundle, predictions_of
from reviewlm.tasks.data.documents import documents_of
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.execution.stage import reuse_of_this_run, run_stage, show_table, stage_task
from reviewlm.tasks.fitting.job import MeasuredModel
from reviewlm.tasks.promotion.ancestry import learnt_by
from reviewlm.tasks.promotion.promote import Promotion
from reviewlm.tasks.records.track import tracker_of
from reviewlm.tracking.registry.opening import find
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import BASELINE, COMPARED_TAG, MEASURED_TAG

COMPARED_FILE = "compared.json"
WITH_INTERVALS = ("accuracy", "macro_f1")
NO_GAIN = {f"gain_{key}{end}": 0.0 for key in WITH_INTERVALS for end in ("", "_lo", "_hi")}
"""Gains of the baseline over itself. They are logged because its run may have gains over an earlier baseline."""


@dataclass(frozen=True)
class Compared:
    """All classifiers of a run on the same test reviews.

    Args:
        rows: `reviewlm.evaluation.classification.compare.classifier_rows`.
        validation: Figures on the validation reviews, by name.
    """

    models: tuple[MeasuredModel, ...]
    rows: tuple[dict[str, Any], ...]
    validation: Mapping[str, dict[str, Any]]
    artifact: Artifact

    def model_named(self, name: str) -> MeasuredModel:
        """Return the classifier with this name."""
        return next(model for model in self.models if model.name == name)

    def row(self, name: str) -> dict[str, Any]:
        """Return the figures of the classifier with this name on the test reviews."""
        return next(row for row in self.rows if row["name"] == name)


@stage_task("compare classifiers")
def compare_classifiers(
    workspace: Workspace,
    evaluation: EvaluationConfig,
    baseline: str,
    prepared: Prepared,
    models: Sequence[MeasuredModel],
    parent_run_id: str,
) -> Compared:
    """Compare the classifiers, and log their figures to their MLflow runs and to the flow's."""
    names = models[0].fitted.spec.labels
    drawn = evaluation.bootstrap
    options = {
        **drawn,
        "names": [model.name for model in models],
        "baseline": baseline,
    }

    def make(work: Path) -> dict[str, Any]:
        documents = documents_of(prepared.clean)
        test: dict[str, Predicted] = {}
        validation: dict[str, dict[str, Any]] = {}
        for model in models:
            test[model.name] = group_predictions(names, predictions_of(model.test), documents)
            held_out = group_predictions(names, predictions_of(model.validation))
            validation[model.name] = figures(held_out).to_dict()

        stored = {"rows": classifier_rows(test, baseline, **drawn), "validation": validation}
        (work / COMPARED_FILE).write_text(json.dumps(stored, indent=1), encoding="utf-8")
        return {"classifiers": len(models), "reviews": len(next(iter(test.values())))}

    inputs = {f"{model.name} validation": model.validation.digest for model in models}
    inputs |= {f"{model.name} test": model.test.digest for model in models}
    inputs["clean"] = prepared.clean.digest
    built = run_stage(
        workspace,
        "compare-classifiers",
        options,
        inputs,
        make,
    )
    stored = json.loads((built.artifact.folder / COMPARED_FILE).read_text(encoding="utf-8"))
    compared = Compared(tuple(models), tuple(stored["rows"]), stored["validation"], built.artifact)
    _log(tracker_of(workspace), compared, baseline, parent_run_id)
    show_table("classifiers", [_flat(row) for row in compared.rows], "Figures on the test reviews")
    return compared


def group_predictions(
    labels: tuple[str, ...],
    rows: pl.DataFrame,
    documents: pl.DataFrame | None = None,
) -> Predicted:
    """Return predictions with the groups of dependent reviews; *documents* are facts about them (`documents_of`)."""
    groups_N = None
    if documents is not None and GROUP in documents.columns:
        keys = rows.select("review_id").join(
            documents,
            on="review_id",
            how="left",
            maintain_order="left",
        )
        # The groups are numbered again, because some reviews have no label.
        groups_N = connect_groups(keys[GROUP]).to_numpy()

    chances = rows["probabilities"]
    table_NK = None
    if not chances.null_count():
        table_NK = np.array(chances.to_list(), np.float64)

    return Predicted(
        labels,
        rows["truth"].to_numpy(),
        rows["answer"].to_numpy(),
        table_NK,
        rows["review_id"],
        groups_N,
    )


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values of a row, without its lists and tables."""
    return {name: value for name, value in row.items() if not isinstance(value, list | dict)}


def _log(
    tracker: Tracker,
    compared: Compared,
    baseline: str,
    parent_run_id: str,
) -> None:
    """Log figures, confusion and predictions to each classifier's run, and the table to the flow's run, once.

    A fit that is used again keeps its run. Its gains and intervals also follow from the baseline, the other settings
    of the comparison and the draws, so the stamp is the digest of the comparison.
    """
    for model in compared.models:
        run_id = model.fitted.run_id
        if tracker.has_tag(run_id, MEASURED_TAG, compared.artifact.digest):
            continue

        row = compared.row(model.name)
        test = NO_GAIN | row if model.name == baseline else row
        _log_numbers(tracker, run_id, "test", test)
        _log_numbers(tracker, run_id, "final_validation", compared.validation[model.name])
        tracker.log_table(run_id, _confusion_table(row), "confusion.json")
        tracker.log_table(run_id, pl.DataFrame(row["per_label"]), "per_label.json")
        tracker.set_tags(run_id, {MEASURED_TAG: compared.artifact.digest, BASELINE: baseline})

    digest = compared.artifact.digest
    if tracker.has_tag(parent_run_id, COMPARED_TAG, digest):
        return

    table = pl.DataFrame([_flat(row) for row in compared.rows])
    metrics: dict[str, Any] = {}
    for row in compared.rows:
        for key in WITH_INTERVALS:
            metrics[f"{key}/{row['name']}"] = row[key]

    tracker.log_table(parent_run_id, table, "classifiers.json")
    tracker.log_metrics(parent_run_id, metrics)
    tracker.set_tags(parent_run_id, {COMPARED_TAG: digest, BASELINE: baseline})


def _log_numbers(
    tracker: Tracker,
    run_id: str,
    split: str,
    measured: Mapping[str, Any],
) -> None:
    """Log the numbers among the figures of a split to a run."""
    numbers: dict[str, float] = {}
    for key, value in measured.items():
        if isinstance(value, int | float):
            numbers[f"{split}/{key}"] = value

    tracker.log_metrics(run_id, numbers)


def _confusion_table(row: Mapping[str, Any]) -> pl.DataFrame:
    """Return the confusion matrix: a row for each true label, a column for each answer."""
    columns = {"truth": row["labels"]}
    for number, label in enumerate(row["labels"]):
        columns[f"answered {label}"] = [line[number] for line in row["confusion"]]

    return pl.DataFrame(columns)


def summarise_classifiers(
    workspace: Workspace,
    classification: ClassificationConfig,
    prepared: Prepared,
    compared: Compared,
    promotion: Promotion,
    run_id: str,
    report: str,
    account: Account,
) -> dict[str, Any]:
    """Return the classifiers with their figures, the decision, and where to look further."""
    first = compared.rows[0]
    summary: dict[str, Any] = {ACCOUNT: account.to_dict()}
    summary["models"] = [_model(compared, model) for model in compared.models]
    summary["label"] = classification.label
    summary["labels"] = first["labels"]
    summary["reviews"] = first["reviews"]
    summary["test_reviews"] = prepared.clean.facts["splits"]["test"]["reviews"]
    summary["majority"] = _majority(first)
    summary["baseline"] = classification.baseline
    summary["challenger"] = promotion.challenger
    summary["version"] = promotion.version
    summary["champion_version"] = promotion.champion_version
    summary["registered_model"] = classification.model_name
    summary["promoted"] = promotion.decision.promote
    summary["reason"] = promotion.decision.reason
    summary |= reuse_of_this_run()
    summary["mlflow_run_id"] = run_id
    summary["mlflow_page"] = tracker_of(workspace).link(run_id)
    summary["report"] = report
    return summary


def _majority(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the most frequent label of the test reviews, and the accuracy of always answering it."""
    return {"label": row["majority_label"], "accuracy": row["majority_accuracy"]}


def _model(compared: Compared, model: MeasuredModel) -> dict[str, Any]:
    """Return one classifier with its figures, for the summary of a run."""
    fitted = model.fitted
    row = compared.row(model.name)
    measured = {}
    for name, value in row.items():
        if name not in ("name", "labels", "majority_label"):
            measured[name] = value

    described = {
        "name": model.name,
        "kind": fitted.spec.kind,
        "mlflow_run_id": fitted.run_id,
    }
    described["test"] = measured
    described["validation"] = compared.validation[model.name]
    described["seconds"] = seconds_of(fitted.artifact.manifest)
    described["parameters"] = fitted.artifact.facts["summary"].get("parameters")
    return described


class RegisteredAnswers(NamedTuple):
    """A registered classifier with its answers.

    Args:
        name: Registered name, version and classifier.
        learnt: Ids of the test reviews that it was fitted or chosen on.
        problems: Sentences about what is not known of its training data.
    """

    name: str
    labels: tuple[str, ...]
    rows: pl.DataFrame
    learnt: set[str]
    problems: list[str]


@stage_task("compare two classifiers")
def compare_two_classifiers(
    config: RunConfig,
    clean: Artifact,
    first: str,
    second: str,
) -> dict[str, Any]:
    """Let two registered classifiers answer the test reviews; return their figures and what to conclude.

    Reviews that either of them was fitted or chosen on are left out: the split of today need not be that of its run.

    Raises:
        BundleError: There is no such version, or it cannot be opened.
        InputError: A version predicts something else than `classification.label`, or than the other.
        EmptyInput: The two have learnt from all of these test reviews.
    """
    workspace = config.workspace
    classification = config.classification
    labels = labels_of_prepared(workspace, config.source, classification, clean)
    documents = documents_of(clean)
    sides = {
        "A": _side(
            workspace,
            classification,
            clean,
            labels,
            first,
        ),
        "B": _side(
            workspace,
            classification,
            clean,
            labels,
            second,
        ),
    }
    left_out = sides["A"].learnt | sides["B"].learnt
    total = sides["A"].rows.height
    if len(left_out) == total:
        raise nothing_left(total, len(left_out))

    common = ~pl.col("review_id").is_in(list(left_out))
    answers: dict[str, Predicted] = {}
    notes: list[str] = []
    for letter, side in sides.items():
        answers[letter] = group_predictions(side.labels, side.rows.filter(common), documents)
        notes += learnt_notes(letter, side.learnt, total, side.problems)

    table = classifier_rows(answers, "A", **config.evaluation.bootstrap)
    rows = {row["name"]: row for row in table}
    b = rows["B"]
    models = [
        {
            "name": side.name,
            "kind": letter,
            "test": rows[letter],
        }
        for letter, side in sides.items()
    ]
    result: dict[str, Any] = {"a": sides["A"].name, "b": sides["B"].name}
    result["label"] = classification.label
    result["reviews"] = rows["A"]["reviews"]
    result |= {
        "left_out": len(left_out),
        "notes": notes,
        "models": models,
    }
    result["majority"] = _majority(rows["A"])
    result["only_a"] = b["baseline_alone_right"]
    result["only_b"] = b["alone_right"]
    result["sentence"] = _sentence(b, config.evaluation.confidence)
    return result


def _side(
    workspace: Workspace,
    classification: ClassificationConfig,
    clean: Artifact,
    labels: Artifact | None,
    reference: str,
) -> RegisteredAnswers:
    classifier = find(workspace, classification.model_name, reference)
    label = classification.label
    with converted_errors(classifier.folder):
        bundle = load_classifier(classifier.folder)

    name = f"{classifier.version.name} version {classifier.version.version}"
    other_names = label in LABELLINGS and bundle.labels != LABELLINGS[label].names
    if other_names or bundle.facts.get("label", label) != label:
        raise InputError(
            "This version predicts other labels",
            where=name,
            value=", ".join(bundle.labels),
            cause=f"the labels of this comparison are those of `classification.label={label}`",
            remedy="compare versions with the same labels; with --preset, also say what they predict, e.g. --set "
            "classification.label=polarity",
        )

    name = f"{name} ({bundle.spec.name})"
    built = predict_bundle(
        workspace,
        classification,
        classifier.folder,
        clean,
        "test",
        name,
        labels,
    )
    rows = predictions_of(built.artifact)
    learnt, problems = learnt_by(workspace.home, clean, classifier.folder)
    return RegisteredAnswers(
        name,
        bundle.labels,
        rows,
        set(rows["review_id"]).intersection(learnt),
        problems,
    )


def _sentence(b: Mapping[str, Any], confidence: float) -> str:
    gain, low, high = (b[f"gain_macro_f1{end}"] for end in ("", "_lo", "_hi"))
    interval = "without an interval"
    if low is not None:
        interval = f"interval {100 * low:+.2f} to {100 * high:+.2f}"

    return (
        f"B is right and A wrong on {b['alone_right']} reviews, A right and B wrong on {b['baseline_alone_right']}. "
        f"Macro-F1 of B is {100 * gain:+.2f} points from A's, {confidence:.0%} {interval}."
    )
