"""Run the audit stage: let a model write reviews, check them for copied text, and log the results to MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from core.config.run_config import RunConfig
from core.store import Artifact, Built
from evaluation.writing.audit import SAMPLES_FILE, TABLES, make_reference
from tasks.data.prepare import Prepared
from tasks.fitting.fit import bundle_digest
from tasks.gpus import OpenBundle
from tasks.measuring.fork_server import ModelWork
from tasks.measuring.observed import audited
from tasks.measuring.processes import with_model
from tasks.progress import progress
from tasks.stage import run_stage
from tracking.runs.runs import Tracker

OPTIONS = {"samples", "max_words", "candidates"}


def audit_bundle(
    config: RunConfig, bundle_folder: Path, prepared: Prepared, tokens: Artifact, label: str
) -> Built:  # fmt: skip
    """Return the audit of a bundle: its samples, and how these and the canaries relate to the training text.

    Args:
        config: Its section `audit` has the options.
        bundle_folder: Folder of the model's bundle.
        prepared: The data that it was trained on.
        tokens: The training stream in the model's vocabulary.
        label: Name in messages.
    """
    reference = reference_of(config, prepared.clean).artifact
    planted = prepared.canaries

    def make(work: Path) -> dict[str, Any]:
        text_tokens = tokens.facts["tokens"] - tokens.facts["documents"]  # without end tokens of reviews
        named = {
            "options": config.audit.model_dump(mode="json"), "reference": str(reference.folder),
            "planted": str(planted.folder) if planted else "",
            "tokens_per_word": text_tokens / reference.facts["words"],
        }  # fmt: skip
        with progress(f"audit {label}", config.audit.samples, "samples") as report:
            return with_model(ModelWork(audited, label, bundle_folder, work, named), opened, report)

    inputs = {"bundle": bundle_digest(bundle_folder), "reference": reference.digest, "tokens": tokens.digest}
    inputs |= {"canaries": planted.digest} if planted else {}
    options = config.audit.model_dump(mode="json", include=OPTIONS)
    with OpenBundle(config, bundle_folder) as opened:
        return run_stage(config, "audit", options, inputs, make, label)


def reference_of(config: RunConfig, clean: Artifact) -> Built:
    """Return the audit reference of a data set: built for the first model, reused for all others."""
    options = config.audit.model_dump(mode="json", include={"max_words"})

    def make(work: Path) -> dict[str, Any]:
        with progress("audit reference", int(clean.facts["splits"]["train"]["reviews"]), "reviews") as report:
            return make_reference(clean.folder, work, options["max_words"], report)

    return run_stage(config, "reference", options, {"clean": clean.digest}, make, "of the audit")


def log_audit(tracker: Tracker, run_id: str, artifact: Artifact) -> None:
    """Log an audit's figures (in one batch) and its tables to a model's MLflow run."""
    tracker.log_metrics(run_id, {f"audit/{name}": value for name, value in figures_of_audit(artifact.facts).items()})
    for file in (SAMPLES_FILE, *TABLES):
        table = pl.read_parquet(artifact.folder / file)
        tracker.log_table(run_id, table, f"audit/{Path(file).with_suffix('.json').name}")


def figures_of_audit(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return the audit figures that have a value."""
    return {name: float(value) for name, value in facts.items() if value is not None}
