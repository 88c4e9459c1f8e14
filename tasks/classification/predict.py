"""Predict the held-out reviews with a classifier from their texts, as the served model does; a row per review."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from reviewlm.core.config.sections.other_models import ClassificationConfig
from reviewlm.core.errors import converted_errors
from reviewlm.core.store import Artifact, Built
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.models.classification.bundle import ClassifierBundle, load_classifier
from reviewlm.tasks.classification.labelling import LEFT_OUT, Labelling, labelling_of
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.execution.devices import held_device
from reviewlm.tasks.execution.progress import progress
from reviewlm.tasks.execution.stage import result_as_task_state, run_stage, stage_task
from reviewlm.tasks.fitting.fit import bundle_digest, device_of
from reviewlm.tasks.fitting.job import Fitted, MeasuredModel

PREDICTIONS_FILE = "predictions.parquet"
SCHEMA = {
    "review_id": pl.String(),
    "truth": pl.Int64(),
    "answer": pl.Int64(),
    "probabilities": pl.List(pl.Float64()),
}
"""`truth` and `answer` are numbers of labels; `probabilities` is null for a classifier that has none."""


@stage_task("predict", run_name="predict {fitted.spec.name}")
def predict(
    workspace: Workspace,
    classification: ClassificationConfig,
    fitted: Fitted,
    prepared: Prepared,
) -> MeasuredModel:
    """Return a fitted classifier with its predictions for each held-out split."""
    name = fitted.spec.name
    clean = prepared.clean
    predicted = []
    for split in ("test", "validation"):
        built = predict_bundle(
            workspace,
            classification,
            fitted.bundle,
            clean,
            split,
            name,
            prepared.labels,
        )
        predicted.append(built)

    test, validation = predicted
    measured = MeasuredModel(fitted, test.artifact, validation.artifact)
    return result_as_task_state(Built(test.artifact, test.reused and validation.reused), measured)


def predict_bundle(
    workspace: Workspace,
    classification: ClassificationConfig,
    folder: Path,
    clean: Artifact,
    split: str,
    name: str,
    labels: Artifact | None,
    names: tuple[str, ...] = (),
) -> Built:
    """Return the predictions of a bundle; champion and challenger go through this same stage.

    Its facts have the accuracy, and the number of reviews per second.

    Args:
        labels: Labels of *clean*, if they are read from a field of its files.
        names: Numbers are those of these labels; empty: of the bundle's own. A bundle that does not know one of them
            is wrong on its reviews.

    Raises:
        InputError: The bundle predicts something else than `classification.label`.
    """
    label = classification.label

    def make(work: Path) -> dict[str, Any]:
        with converted_errors(folder), held_device(device_of(workspace.execution)) as device:
            bundle = load_classifier(folder, device)
            labels_folder = labels.folder if labels else None
            labelling = labelling_of(label, names or bundle.labels, labels_folder)
            total = int(clean.facts["splits"][split]["reviews"])
            began = time.perf_counter()
            with progress(f"{name} {split}", total, "reviews") as report:
                rows = answer_reviews(
                    bundle,
                    clean,
                    split,
                    labelling,
                    report,
                )

        rows.write_parquet(work / PREDICTIONS_FILE)
        right = rows.select((pl.col("truth") == pl.col("answer")).mean()).item() or 0.0
        speed = round(rows.height / (time.perf_counter() - began))  # without a label: not answered
        return {
            "reviews": rows.height,
            "accuracy": right,
            "reviews_per_second": speed,
        }

    inputs = {"bundle": bundle_digest(folder), "clean": clean.digest}
    if labels:
        inputs["labels"] = labels.digest
    options: dict[str, Any] = {"split": split, "label": label}
    if names:
        options["names"] = list(names)
    return run_stage(
        workspace,
        "predict",
        options,
        inputs,
        make,
        f"{name} {split}",
    )


def answer_reviews(
    bundle: ClassifierBundle,
    clean: Artifact,
    split: str,
    labelling: Labelling,
    report: Any,
) -> pl.DataFrame:
    """Return one row per labelled review of a split, in the order of the prepared data; columns as in `SCHEMA`.

    There are no probabilities if the bundle does not have the same labels.
    """
    number_K = np.array([labelling.names.index(name) for name in bundle.labels], np.int64)
    same_labels = bundle.labels == labelling.names
    parts = [pl.DataFrame(schema=SCHEMA)]
    done = 0
    for batch in iter_split(clean.folder, split, batch_rows=1_000):
        truth_N = labelling.numbers(batch)
        rows = batch.filter(pl.Series(truth_N != LEFT_OUT))
        done += batch.height
        report(done)
        if rows.is_empty():
            continue
        predicted = bundle.classify(rows["text"].to_list())
        chances: list[Any] = [None] * rows.height
        if same_labels:
            chances = predicted.probabilities_NK.tolist()
        columns = {"review_id": rows["review_id"], "truth": truth_N[truth_N != LEFT_OUT]}
        columns["answer"] = number_K[predicted.answers_N]
        columns["probabilities"] = pl.Series(chances, dtype=SCHEMA["probabilities"])
        parts.append(pl.DataFrame(columns, schema=SCHEMA))

    return pl.concat(parts)


def predictions_of(artifact: Artifact) -> pl.DataFrame:
    """Return the rows of predictions, one per labelled review."""
    return pl.read_parquet(artifact.folder / PREDICTIONS_FILE)
