"""Fit classifiers: one artifact per classifier with its bundle and journal of metrics, and one MLflow run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.store import Artifact, Store
from models.classification.spec import CLASSIFIERS, ClassifierSpec, identity
from models.classification.spec import language_model_of as language_model_of
from tasks.classification.job import ClassifierJob
from tasks.classification.labels import LABELLINGS
from tasks.code_version import WORKERS, running_code
from tasks.data.prepare import VOCABULARY_FILE, Prepared
from tasks.embedding.start import INPUT as VECTORS
from tasks.embedding.start import start_vectors
from tasks.fitting.fit import Fitted, bundle_digest, made_of, remove, threads_of
from tasks.fitting.fit_process import run_job
from tasks.fitting.job import BUNDLE_FOLDER
from tasks.fitting.listeners import both, now_and_then
from tasks.gpus import device_for, gpu_slot
from tasks.progress import duration, progress
from tasks.stage import result_as_task_state, run_stage, show_facts, stage, store_of
from tasks.tracking.track import JOURNAL, open_model_run

FIT_VERSION = 1
STAGE = "fit-classifier"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedClassifier:
    """Fitted classifier: its spec with the labels, its artifact, and the MLflow run that describes it."""

    spec: ClassifierSpec
    artifact: Artifact
    run_id: str
    reused: bool

    @property
    def bundle(self) -> Path:
        """The folder that `models.classification.bundle.load_classifier` opens."""
        return self.artifact.folder / BUNDLE_FOLDER


@stage(STAGE, run_name="fit {spec.name}")
def fit_classifier(
    config: RunConfig, spec: ClassifierSpec, prepared: Prepared, parent_run_id: str, start: Fitted | None = None
) -> FittedClassifier:
    """Fit one classifier in a child process; if the store has the fit, reuse it and link its MLflow run.

    Args:
        config: The configuration; the section `classification` says what is predicted.
        spec: The classifier.
        prepared: Data with the token streams of its vocabulary.
        parent_run_id: MLflow run of the flow.
        start: The language model that it starts from (`spec.start`).

    Raises:
        FitError, InputError, RankFailed: See `run_job`.
    """
    chosen, tokens = config.classification, prepared.tokens[spec.vocabulary]
    spec = replace(spec, labels=LABELLINGS[chosen.label].names)
    options = {
        **identity(spec), "label": chosen.label, "train_reviews": chosen.train_reviews,
        "drawn_by": config.seed if chosen.train_reviews else None,
    }  # fmt: skip
    parts = {start.spec.name: bundle_digest(start.bundle)} if start else {}
    inputs = {split: tokens[split].digest for split in ("train", "validation")}
    inputs |= {f"part {name}": found for name, found in parts.items()}
    vectors = start_vectors(config, spec, prepared.vocabularies[spec.vocabulary], tokens["train"])
    inputs |= {VECTORS: vectors.digest} if vectors else {}
    only = "" if language_model_of(spec) else CLASSIFIERS[spec.kind][1]
    digest = Store.digest(STAGE, running_code().version(FIT_VERSION, WORKERS[STAGE], only), options, inputs)
    there = STAGE not in config.execution.rebuild and store_of(config).find_usable(STAGE, digest) is not None

    with open_model_run(config, spec, digest, prepared, parent_run_id, there) as run:

        def make(work: Path) -> dict[str, Any]:
            job = ClassifierJob(
                spec=spec, vocabulary=prepared.vocabularies[spec.vocabulary].folder / VOCABULARY_FILE,
                train=tokens["train"].folder, validation=tokens["validation"].folder, work=work,
                facts={"fit_digest": digest, "clean_digest": prepared.clean.digest, **made_of(parts)},
                device=device_for(config, spec), threads=threads_of(config),
                parts={start.spec.name: start.bundle} if start else {},
                system_metrics_seconds=config.execution.system_metrics_seconds,
                label=chosen.label, train_reviews=chosen.train_reviews, seed=config.seed,
                vectors=vectors.folder if vectors else None,
            )  # fmt: skip
            with gpu_slot(job.device) as gpus, progress(spec.name, 1, "tokens") as report:
                summary = run_job(replace(job, gpus=gpus), both(report, now_and_then(run.forward), work / JOURNAL))
            for leftover in work.glob("checkpoint*"):
                remove(leftover)
            return {"name": spec.name, "kind": spec.kind, "label": chosen.label, "summary": dict(summary)}

        built = run_stage(config, STAGE, FIT_VERSION, options, inputs, make, spec.name, resumable=True, model=only)
        run.complete(built.artifact, BUNDLE_FOLDER)
    if not built.reused:
        log.info("fitted   %s in %s", spec.name, duration(built.artifact.manifest["seconds"]))
    show_facts(f"fit-{spec.name}", built.artifact, built.reused, f"MLflow run: {run.link}")
    return result_as_task_state(built, FittedClassifier(spec, built.artifact, run.run_id, built.reused))
