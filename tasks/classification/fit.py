"""Fit classifiers: one artifact per classifier with its bundle and journal of metrics, and one MLflow run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.store import Artifact, Built, Store
from models.classification.spec import ClassifierSpec, identity
from models.classification.spec import language_model_of as language_model_of
from tasks.classification.job import LEXICON, ClassifierJob, lexicons_of, reads_texts
from tasks.code_version import WORKERS, running_code
from tasks.data.prepare import VOCABULARY_FILE, Prepared
from tasks.fitting.fit import bundle_digest, is_handed_over, made_of, remove, threads_of
from tasks.fitting.fit_process import run_job
from tasks.fitting.fitted import Fitted, FittedClassifier
from tasks.fitting.listeners import both
from tasks.fitting.on_cluster import ClusterRun
from tasks.fitting.tracked import tracked_fit
from tasks.gpus import device_for, gpu_slot
from tasks.progress import progress
from tasks.stage import MADE_ELSEWHERE, run_stage, stage
from tasks.start_vectors import INPUT as VECTORS
from tasks.start_vectors import start_vectors
from tasks.track import JOURNAL

STAGE = "fit-classifier"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassifierPlan:
    """Everything that determines the digest of a classifier's fit, and where its parts are.

    Args:
        spec: The classifier, with its labels.
        options: Options of the stage.
        inputs: Digests of what the fit reads, by name.
        parts: Bundle of the language model that it starts from, by name; empty without one.
        vectors: Folder of the word vectors that its embedding starts from.
        lexicons: Folder of each lexicon that it counts, by name.
        labels: Folder of the stage `labels`, if it predicts a field of the files.
    """

    spec: ClassifierSpec
    options: dict[str, Any]
    inputs: dict[str, str]
    parts: dict[str, Path]
    vectors: Path | None = None
    lexicons: Mapping[str, Path] = field(default_factory=dict)
    labels: Path | None = None

    @property
    def digest(self) -> str:
        """Digest of the fitted classifier's artifact."""
        return Store.digest(STAGE, classifier_version(self.spec), self.options, self.inputs)


def classifier_version(spec: ClassifierSpec) -> str:
    """Return the version of the fits of a classifier."""
    return running_code().version(WORKERS[STAGE], _only_kind(spec))


def _only_kind(spec: ClassifierSpec) -> str:
    """Return the kind of a classifier if it opens no other model; else ""."""
    return "" if language_model_of(spec) else spec.kind


def plan_classifier(
    config: RunConfig, spec: ClassifierSpec, tokens: Mapping[str, Artifact], start: Path | None,
    vectors: Artifact | None, lexicons: Mapping[str, Artifact] | None = None, labels: Artifact | None = None,
) -> ClassifierPlan:  # fmt: skip
    """Return the plan of a fit.

    Args:
        config: Its section `classification` says what is predicted.
        spec: The classifier, with its labels.
        tokens: Token streams of its vocabulary, by split.
        start: Bundle of the language model that it starts from.
        vectors: Rows of its word vectors.
        lexicons: Its lexicons, by name.
        labels: Result of the stage `labels`, if it predicts a field of the files.
    """
    chosen = config.classification
    options = {
        **identity(spec), "label": chosen.label, "train_reviews": chosen.train_reviews,
        "drawn_by": config.seed if chosen.train_reviews else None,
    }  # fmt: skip
    parts = {language_model_of(spec): start} if start else {}
    inputs = {split: tokens[split].digest for split in ("train", "validation")}
    inputs |= {f"part {name}": bundle_digest(folder) for name, folder in parts.items()}
    inputs |= {VECTORS: vectors.digest} if vectors else {}
    inputs |= {"labels": labels.digest} if labels else {}
    inputs |= {f"{LEXICON}{name}": one.digest for name, one in (lexicons or {}).items()}
    folders = {name: one.folder for name, one in (lexicons or {}).items()}
    return ClassifierPlan(
        spec, options, inputs, parts, vectors.folder if vectors else None, folders, labels.folder if labels else None
    )  # fmt: skip


@stage(STAGE, run_name="fit {spec.name}")
def fit_classifier(
    config: RunConfig, spec: ClassifierSpec, prepared: Prepared, parent_run_id: str, start: Fitted | None = None
) -> FittedClassifier:
    """Fit one classifier in a child process; if the store has the fit, reuse it and link its MLflow run.

    Args:
        prepared: Data with the token streams of its vocabulary.
        start: The language model that it starts from (`spec.start`).

    Raises:
        FitError, InputError, RankFailed: See `run_job`.
    """
    tokens = prepared.tokens[spec.vocabulary]
    vectors = start_vectors(config, spec, prepared)
    spec = replace(spec, labels=prepared.label_names)
    plan = plan_classifier(
        config, spec, tokens, start.bundle if start else None, vectors, lexicons_of(config, spec), prepared.labels
    )
    return tracked_fit(
        config, STAGE, plan.spec, plan.digest, prepared, parent_run_id,
        lambda listen: build_classifier(config, plan, prepared, listen),
    )  # fmt: skip


def build_classifier(
    config: RunConfig, plan: ClassifierPlan, prepared: Prepared, listen: Callable[[Path], None]
) -> Built:
    """Return the artifact of a planned fit; if the store does not have it, fit it in a child process.

    The nodes of `execution.cluster` fit networks. *listen* is called at every progress message with the path of the
    journal. Errors: see `run_job`.
    """
    spec, chosen = plan.spec, config.classification
    tokens, vocabulary = prepared.tokens[spec.vocabulary], prepared.vocabularies[spec.vocabulary]
    cluster = ClusterRun(config, _only_kind(spec)) if is_handed_over(config, spec) else None

    def make(work: Path) -> dict[str, Any]:
        lineage = made_of({name: bundle_digest(folder) for name, folder in plan.parts.items()})
        lineage |= {name: digest for name, digest in plan.inputs.items() if name == VECTORS or name.startswith(LEXICON)}
        job = ClassifierJob(
            spec=spec, vocabulary=vocabulary.folder / VOCABULARY_FILE, train=tokens["train"].folder,
            validation=tokens["validation"].folder, work=work,
            facts={"fit_digest": plan.digest, "clean_digest": prepared.clean.digest, **lineage},
            device=device_for(config, spec), threads=threads_of(config), parts=plan.parts, vectors=plan.vectors,
            system_metrics_seconds=config.execution.system_metrics_seconds,
            label=chosen.label, labels=plan.labels, train_reviews=chosen.train_reviews, seed=config.seed,
            clean=prepared.clean.folder if reads_texts(spec) else None, lexicons=plan.lexicons,
        )  # fmt: skip
        with nullcontext(()) if cluster else gpu_slot(job.device) as gpus, progress(spec.name, 1, "tokens") as report:
            summary = (cluster or run_job)(replace(job, gpus=gpus), both(report, listen, work / JOURNAL))
        for leftover in work.glob("checkpoint*"):
            remove(leftover)
        facts = {"name": spec.name, "kind": spec.kind, "label": chosen.label, "summary": dict(summary)}
        return {**facts, MADE_ELSEWHERE: cluster.made_by} if cluster else facts

    return run_stage(
        config, STAGE, plan.options, plan.inputs, make, spec.name, resumable=True, kind=_only_kind(spec)
    )  # fmt: skip
