"""Read the labels of a data set from a field of its files, and choose those that can be predicted."""

from __future__ import annotations

import logging
import math
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.config.sections.other_models import ClassificationConfig
from reviewlm.core.errors import InputError, Unreadable
from reviewlm.core.store import Artifact, Store
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.ingestion.ingest import iter_parts
from reviewlm.corpus.ingestion.labels_of_fields import read_labels
from reviewlm.corpus.splitting.split import TABLE
from reviewlm.tasks.classification.labelling import LABELLINGS, LABELS_FILE
from reviewlm.tasks.data.ingest import files_of
from reviewlm.tasks.execution.progress import progress
from reviewlm.tasks.execution.stage import as_task_state, run_stage, stage_task

STAGE = "labels"
MOST_LABELS = 100
"""Most different labels; a field with more is an identity, a number or a text."""
SHOWN = 10
log = logging.getLogger(__name__)


@stage_task(STAGE)
def field_labels(
    workspace: Workspace,
    source_settings: SourceConfig,
    classification: ClassificationConfig,
    dataset: Artifact,
) -> Artifact:
    """Return the artifact with the labels of a data set, read from the field `classification.label` of its files.

    The files are read with the settings with which the reviews were read.

    Raises:
        Unreadable: A file of the data set is gone, or has other bytes now.
        MissingColumn: A file does not have the field.
    """
    field = classification.label
    settings = dataset.facts["settings"]
    source = source_settings.model_copy(update={"fields": {}, **settings})

    def make(work: Path) -> dict[str, Any]:
        files = files_of(workspace.home, source_settings, dataset)
        with progress("labels", sum(file.bytes for file in files), "bytes") as report:
            labelled = read_labels(
                files,
                iter_parts(dataset.folder),
                source,
                field,
                report,
            )
        labelled.write_parquet(work / LABELS_FILE, compression="zstd")
        return {"field": field, "labelled": labelled.height}

    options = {"field": field, "settings": settings}
    built = run_stage(
        workspace,
        STAGE,
        options,
        {"dataset": dataset.digest},
        make,
        field,
    )
    return as_task_state(built)


def labels_of(
    workspace: Workspace,
    source: SourceConfig,
    classification: ClassificationConfig,
    dataset: Artifact,
) -> Artifact | None:
    """Return the labels of a data set; None if they follow from the stars. Errors: see `field_labels`."""
    if classification.label in LABELLINGS:
        return None
    return field_labels(workspace, source, classification, dataset)


def labels_of_prepared(
    workspace: Workspace,
    source: SourceConfig,
    classification: ClassificationConfig,
    clean: Artifact,
) -> Artifact | None:
    """Return the labels of the data set behind prepared data, as `labels_of`.

    Raises:
        Unreadable: The store does not have the data set any more.
    """
    if classification.label in LABELLINGS:
        return None

    digest = clean.manifest["inputs"]["dataset"]
    dataset = Store.of(workspace.home).find_usable("ingest", digest)
    if dataset is None:
        raise Unreadable(
            "The labels cannot be read",
            where=clean.folder,
            cause=f"the data set '{digest}' is not in the store",
            remedy="read the reviews again: `reviewlm data ingest` with the same --input",
        )

    return labels_of(workspace, source, classification, dataset)


def label_names(
    classification: ClassificationConfig,
    labels: Artifact | None,
    clean: Artifact,
) -> tuple[str, ...]:
    """Return the labels to predict, in order: of a field those that enough training reviews have.

    The log says how many reviews have other labels: they are left out of all figures.

    Raises:
        InputError: The field has fewer than two such labels, or far too many different ones.
    """
    if labels is None:
        return LABELLINGS[classification.label].names

    split = pl.scan_parquet(clean.folder / TABLE).select("review_id", "split")
    every = pl.scan_parquet(labels.folder / LABELS_FILE)
    labelled = every.join(split, on="review_id", how="inner").collect()
    train = labelled.filter(pl.col("split") == "train")
    names = _frequent(classification, Counter(train["label"].to_list()))
    field = classification.label
    log.info("labels   %s: %d labels of %d reviews", field, len(names), labelled.height)

    others = labelled.filter(~pl.col("label").is_in(names))["label"]
    rare = others.value_counts(sort=True, name="reviews")
    if rare.height:
        first = [f"{label!r} ({count})" for label, count in rare.head(SHOWN).iter_rows()]
        log.warning(
            "%d labels are too rare to be learnt; their %d reviews are left out: %s",
            rare.height,
            rare["reviews"].sum(),
            ", ".join(first),
        )

    return names


def _frequent(classification: ClassificationConfig, counts: Counter[str]) -> tuple[str, ...]:
    field = classification.label
    least = classification.min_label_reviews
    if len(counts) > MOST_LABELS:
        examples = ", ".join(map(repr, list(counts)[:3]))
        raise InputError(
            "The field has too many different labels",
            where="classification.label",
            value=field,
            cause=f"{len(counts):,} among the training reviews, e.g. {examples}; at most "
            f"{MOST_LABELS:,} are read",
            remedy="name a field with categories, not with numbers, identities or texts",
        )

    names = sorted((label for label, count in counts.items() if count >= least), key=_order)
    if len(names) < 2:
        most = [f"{label!r}: {count:,}" for label, count in counts.most_common(SHOWN)]
        there = ", ".join(most) or "none has a label"
        raise InputError(
            "The field has fewer than two labels that can be learnt",
            where="classification.label",
            value=field,
            cause=f"each needs {least} training reviews; there are: {there}",
            remedy="more labelled reviews (--input), or another field",
        )

    return tuple(names)


def _order(label: str) -> tuple[int, float, str]:
    """Put numbers in their order before other labels."""
    try:
        number = float(label)
    except ValueError:
        return 1, 0.0, label
    if not math.isfinite(number):
        return 1, 0.0, label
    return 0, number, label
