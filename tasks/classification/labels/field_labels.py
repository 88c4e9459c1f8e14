"""Read the labels of a data set from a field of its files: an artifact with the label of each review."""

from __future__ import annotations

import logging
import math
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from core.config.run_config import RunConfig
from core.errors import InputError, Unreadable
from core.store import Artifact
from corpus.ingestion.ingest import iter_parts
from corpus.ingestion.labels import read_labels
from tasks.classification.labels.labelling import LABELLINGS, LABELS_FILE
from tasks.data.ingest import files_of
from tasks.progress import progress
from tasks.stage import as_task_state, run_stage, show_facts, stage, store_of

STAGE, LABELS_VERSION = "labels", 1
MOST_LABELS = 1_000
"""Most different labels; a field with more is an identity, a number or a text."""
SHOWN = 10
log = logging.getLogger(__name__)


@stage(STAGE)
def field_labels(config: RunConfig, clean: Artifact) -> Artifact:
    """Return the artifact with the labels of prepared data, read from the field `classification.label` of its files.

    Its facts have the names: the labels that enough training reviews have, in order. Reviews with other labels are left
    out of all figures, and counted here.

    Raises:
        Unreadable: The data set of the prepared data is not in the store any more, or a file of it is gone or changed.
        MissingColumn: A file does not have the field.
        InputError: The field has fewer than two usable labels, or far too many.
    """
    chosen, dataset = config.classification, _dataset_of(config, clean)

    def make(work: Path) -> dict[str, Any]:
        sources = files_of(config, dataset)
        with progress("labels", sum(source.bytes for source in sources), "bytes") as report:
            table = read_labels(sources, iter_parts(dataset.folder), config.source, chosen.label, report)
        table.write_parquet(work / LABELS_FILE, compression="zstd")
        split = pl.scan_parquet(clean.folder / "clean.parquet").select("review_id", "split").collect()
        found = table.join(split, on="review_id", how="inner")
        return {"field": chosen.label, "reviews": split.height, "labelled": found.height, **_names(config, found)}

    options = {"field": chosen.label, "fields": config.source.fields.renamed, "at_least": chosen.min_label_reviews}
    built = run_stage(
        config, STAGE, LABELS_VERSION, options, {"dataset": dataset.digest, "clean": clean.digest}, make, chosen.label
    )
    if not built.reused:
        _say(built.artifact.facts)
    show_facts(STAGE, built.artifact, built.reused)
    return as_task_state(built)


def labels_of(config: RunConfig, clean: Artifact) -> Artifact | None:
    """Return the labels of prepared data; None if they follow from the stars. Errors: see `field_labels`."""
    return None if config.classification.label in LABELLINGS else field_labels(config, clean)


def _dataset_of(config: RunConfig, clean: Artifact) -> Artifact:
    digest = clean.manifest["inputs"]["dataset"]
    if (dataset := store_of(config).find_usable("ingest", digest)) is None:
        raise Unreadable(
            "The labels cannot be read", where=clean.folder, cause=f"the data set '{digest}' is not in the store",
            remedy="read the reviews again: `reviewlm ingest` with the same --input",
        )
    return dataset


def _names(config: RunConfig, found: pl.DataFrame) -> dict[str, Any]:
    """Return the labels to predict, and how many reviews have others."""
    field, least = config.classification.label, config.classification.min_label_reviews
    counts = Counter(found.filter(pl.col("split") == "train")["label"].to_list())
    if len(counts) > MOST_LABELS:
        raise InputError(
            "The field has too many different labels", where="classification.label", value=field,
            cause=f"{len(counts):,} among the training reviews, e.g. {', '.join(map(repr, list(counts)[:3]))}; at most "
            f"{MOST_LABELS:,} are read", remedy="name a field with categories, not with numbers, identities or texts",
        )
    names = sorted((label for label, count in counts.items() if count >= least), key=_order)
    rare = found.filter(~pl.col("label").is_in(names))["label"].value_counts(sort=True, name="reviews")
    if len(names) < 2:
        most = ", ".join(f"{label!r}: {count:,}" for label, count in counts.most_common(SHOWN)) or "none has a label"
        raise InputError(
            "The field has fewer than two labels that can be learnt", where="classification.label", value=field,
            cause=f"each needs {least} training reviews (classification.min_label_reviews); there are: {most}",
            remedy="more labelled reviews (--input), or another field",
        )
    shown = dict(rare.head(SHOWN).iter_rows())
    return {"names": names, "rare_labels": rare.height, "rare_reviews": int(rare["reviews"].sum()), "rare": shown}


def _order(label: str) -> tuple[int, float, str]:
    """Put numbers in their order before other labels."""
    try:
        return (0, number, label) if math.isfinite(number := float(label)) else (1, 0.0, label)
    except ValueError:
        return 1, 0.0, label


def _say(facts: dict[str, Any]) -> None:
    log.info("labels   %s: %d labels of %d reviews", facts["field"], len(facts["names"]), facts["labelled"])
    if facts["rare_labels"]:
        log.warning(
            "%d labels are too rare to be learnt; their %d reviews are left out: %s", facts["rare_labels"],
            facts["rare_reviews"], ", ".join(f"{label!r} ({count})" for label, count in facts["rare"].items()),
        )
