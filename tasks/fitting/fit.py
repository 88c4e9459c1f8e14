"""Fit models of any family: one artifact per model with its bundle and its journal of metrics, and one MLflow run."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.config.sections.other_models import ClassificationConfig
from reviewlm.core.environment import (
    available_cores,
    chosen_device,
    usable_together,
    visible_gpu_names,
)
from reviewlm.core.errors import Diverged
from reviewlm.core.manifest import seconds_of
from reviewlm.core.store import Artifact, Built, Store, sha256_of
from reviewlm.core.workspace import Workspace
from reviewlm.models.bundles.bundle import SPEC
from reviewlm.models.classification.spec import ClassifierOptions
from reviewlm.models.specs import identity, parts_of
from reviewlm.tasks.data.prepare import VOCABULARY_FILE, Prepared
from reviewlm.tasks.embed import START_VECTORS, start_vectors
from reviewlm.tasks.execution.cluster import address_for_children
from reviewlm.tasks.execution.code_version import WORKERS, running_code
from reviewlm.tasks.execution.devices import device_for, is_neural
from reviewlm.tasks.execution.limits import gpu_slot
from reviewlm.tasks.execution.progress import duration, progress
from reviewlm.tasks.execution.stage import (
    MADE_ELSEWHERE,
    WithoutFutures,
    result_as_task_state,
    run_stage,
    stage_task,
)
from reviewlm.tasks.fitting.fit_process import run_job
from reviewlm.tasks.fitting.job import (
    BUNDLE_FOLDER,
    FIT,
    FIT_CLASSIFIER,
    PART,
    ClassifierJob,
    FitJob,
    Fitted,
    FittedSpec,
    LanguageModelJob,
    Report,
)
from reviewlm.tasks.fitting.on_cluster import ClusterRun
from reviewlm.tasks.fitting.warm_start import INPUT, LEARNT, VECTORS, Start, past_of, starting_point
from reviewlm.tasks.records.track import JOURNAL, open_model_run
from reviewlm.tracking.tags import START_TAG
from reviewlm.training.context import FitProgress, Pace

RunJob = Callable[[FitJob, Report], Mapping[str, float]]
LABELS = "labels"
"""Name of the labels of a field among the inputs of a classifier's fit."""
ROWS_OF_RANK = 64
GATES = {"gru": 3, "lstm": 4}
"""Matrices of a cell beside each other, where there are several."""
log = logging.getLogger(__name__)


class EnoughSeen(Exception):
    """Raised by a listener to stop a fit: its process is ended and its files are deleted."""


@dataclass(frozen=True)
class FitSettings(WithoutFutures):
    """The settings that fits read beside the options of their models.

    Args:
        workspace: Home, tracker, devices and threads.
        promotion: Names the registered model whose champion a warm start begins from.
        classification: What classifiers predict, and from how many reviews.
        vectors: Files of word vectors, by name.
        seed: Draws the reviews that classifiers learn from.
    """

    workspace: Workspace
    promotion: PromotionConfig
    classification: ClassificationConfig
    vectors: Mapping[str, str]
    seed: int

    @classmethod
    def of(cls, config: RunConfig) -> FitSettings:
        """Return the settings of a configuration that fits read."""
        return cls(
            config.workspace,
            config.promotion,
            config.classification,
            config.vectors,
            config.seed,
        )

    @property
    def execution(self) -> ExecutionConfig:
        """Devices, threads, workers and cluster."""
        return self.workspace.execution


@dataclass(frozen=True)
class FitPlan:
    """A fit: everything that determines its digest, and where it starts from.

    Args:
        settings: The settings that it reads.
        spec: The model; of a classifier, with the labels.
        parts: The fitted parts of the model by name.
        made: Word vectors and labels that it reads, by the name of the input.
        start: The weights of a warm start.
    """

    settings: FitSettings
    spec: FittedSpec
    prepared: Prepared
    parts: Mapping[str, Fitted] = field(default_factory=dict)
    made: Mapping[str, Artifact] = field(default_factory=dict)
    start: Start = field(default_factory=Start)

    @property
    def stage(self) -> str:
        """The stage that fits it."""
        return FIT_CLASSIFIER if isinstance(self.spec, ClassifierOptions) else FIT

    @property
    def options(self) -> dict[str, Any]:
        """Options of its stage; those of a classifier also say what it predicts."""
        options = identity(self.spec)
        if self.stage != FIT_CLASSIFIER:
            return options

        chosen = self.settings.classification
        drawn_by = self.settings.seed if chosen.train_reviews else None
        return options | {
            "label": chosen.label,
            "train_reviews": chosen.train_reviews,
            "drawn_by": drawn_by,
        }

    @property
    def inputs(self) -> dict[str, str]:
        """Digests of what the fit reads, by name."""
        tokens = self.prepared.tokens[self.spec.vocabulary]
        inputs = {split: tokens[split].digest for split in ("train", "validation")}
        inputs |= {f"{PART}{name}": bundle_digest(part.bundle) for name, part in self.parts.items()}
        inputs |= {name: artifact.digest for name, artifact in self.made.items()}
        if self.start.digest:
            inputs[INPUT] = self.start.digest

        return inputs

    @property
    def digest(self) -> str:
        """Digest of the fitted model's artifact."""
        version = fit_version(self.spec, self.stage)
        return Store.digest(self.stage, version, self.options, self.inputs)

    @property
    def parts_of_it(self) -> list[Any]:
        """Specs of its parts."""
        return [part.spec for part in self.parts.values()]

    def job(self, work: Path, pace: Pace | None = None) -> FitJob:
        """Return the job that fits it in a folder; with *pace*, of the part of its training before the decay."""
        spec = self.spec
        execution = self.settings.execution
        ranks = ranks_of(execution, spec)
        folders = {name: artifact.folder for name, artifact in self.made.items()}
        shared: dict[str, Any] = {
            "spec": spec,
            **self._read_files(),
            "work": work,
        }
        shared["facts"] = self._facts()
        shared["device"] = device_for(execution, spec, self.parts_of_it)
        shared["ranks"] = ranks
        shared["threads"] = max(1, threads_of(execution) // ranks)
        shared["parts"] = {name: part.bundle for name, part in self.parts.items()}
        shared["vectors"] = folders.get(START_VECTORS)
        if isinstance(spec, ClassifierOptions):
            chosen = self.settings.classification
            return ClassifierJob(
                **shared,
                label=chosen.label,
                labels=folders.get(LABELS),
                train_reviews=chosen.train_reviews,
                seed=self.settings.seed,
            )

        # The cluster counts n-grams.
        cluster = None
        if spec.kind == "ngram":
            cluster = address_for_children(execution.cluster)
        return LanguageModelJob(
            **shared,
            cluster=cluster,
            storage=execution.storage,
            init_weights=self.start.folder,
            pace=pace,
        )

    def _read_files(self) -> dict[str, Path]:
        """Return the vocabulary's file and the folders of the tokens, by the names of a job."""
        tokens = self.prepared.tokens[self.spec.vocabulary]
        vocabulary = self.prepared.vocabularies[self.spec.vocabulary]
        return {
            "vocabulary": vocabulary.folder / VOCABULARY_FILE,
            "train": tokens["train"].folder,
            "validation": tokens["validation"].folder,
        }

    def on_cluster(self) -> ClusterRun | None:
        """Return the run of its job on a node; None without a cluster, or if it has no network."""
        execution = self.settings.execution
        if execution.cluster and is_neural(self.spec, self.parts_of_it):
            return ClusterRun(execution)
        return None

    def _facts(self) -> dict[str, Any]:
        """Return the facts of the bundle: the digests of fit and data, and all data that it has learnt from."""
        clean = self.prepared.clean.digest
        vectors = []
        if START_VECTORS in self.made:
            vectors.append(getattr(self.spec, "vectors", ""))

        pasts: list[Mapping[str, Any]] = [{LEARNT: [clean], VECTORS: vectors}]
        for part in self.parts.values():
            pasts.append(json.loads((part.bundle / SPEC).read_text(encoding="utf-8")))
        if self.start.past:
            pasts.append(self.start.past)

        return {
            "fit_digest": self.digest,
            "clean_digest": clean,
            **past_of(*pasts),
        }

    def build(
        self, listen: Callable[[Path], None] = lambda journal: None, run: RunJob | None = None
    ) -> Built:
        """Return the artifact of the fit; if the store does not have it, fit it in a child process.

        *listen* is called at every progress message with the path of the journal, which may not exist yet. *run* runs
        the job, by default in a child process, or on a node of `execution.cluster` if it is a network or holds one;
        `reviewlm check` fits tiny models in its own process.

        Raises:
            FitError, InputError, RankFailed: See `run_job`.
            EnoughSeen: Raised by *listen*.
        """
        spec = self.spec
        cluster = None
        if run is None:
            cluster = self.on_cluster()

        def make(work: Path) -> dict[str, Any]:
            job = self.job(work)
            slot: AbstractContextManager[tuple[int, ...]] = nullcontext(())
            if not cluster:
                slot = gpu_slot(job.device, job.ranks)

            runs = cluster or run or run_job
            with slot as gpus, progress(spec.name, 1, "tokens") as report:

                def heard(news: FitProgress) -> None:
                    report(news.step, news.figures, total=news.total)
                    listen(work / JOURNAL)

                try:
                    summary = runs(replace(job, gpus=gpus), heard)
                except (EnoughSeen, Diverged):  # resuming from the last state would diverge again
                    for leftover in work.iterdir():
                        remove(leftover)
                    raise

            for leftover in work.glob("checkpoint*"):
                remove(leftover)

            facts: dict[str, Any] = {"name": spec.name, "kind": spec.kind}
            if isinstance(job, ClassifierJob):
                facts["label"] = job.label
            facts["summary"] = dict(summary)
            if cluster:
                facts[MADE_ELSEWHERE] = cluster.made_by

            return facts

        trained = hasattr(spec, "training")  # only such a fit writes checkpoints
        return run_stage(
            self.settings.workspace,
            self.stage,
            self.options,
            self.inputs,
            make,
            spec.name,
            resumable=trained,
            kind=_only_kind(spec),
        )


@stage_task("fit", run_name="fit {spec.name}")
def fit(
    config: RunConfig,
    spec: FittedSpec,
    prepared: Prepared,
    parent_run_id: str,
    parts: Mapping[str, Fitted],
) -> Fitted:
    """Fit one model in a child process; if the store has the fit, reuse it and link its MLflow run.

    *parts* are the fitted parts of the model by name. A mixture of the same bundles is not fitted again.

    Raises:
        FitError, InputError, RankFailed: See `run_job`.
    """
    plan = plan_fit(FitSettings.of(config), spec, prepared, parts)
    rebuilt = plan.stage in config.execution.rebuild
    there = not rebuilt and Store.of(config.home).find_usable(plan.stage, plan.digest) is not None
    with open_model_run(
        config,
        plan.spec,
        plan.digest,
        prepared,
        parent_run_id,
        there,
    ) as run:
        built = plan.build(run.follow)
        run.complete(built.artifact, BUNDLE_FOLDER)

    if plan.start.note and not run.known:
        run.tracker.set_tags(run.run_id, {START_TAG: plan.start.note})

    if not built.reused:
        log.info("fitted   %s", in_words(built.artifact))

    return result_as_task_state(built, Fitted(plan.spec, built.artifact, run.run_id, built.reused))


def in_words(artifact: Artifact) -> str:
    """Return name, time and validation perplexity of a fit, as far as it measured one."""
    facts = artifact.facts
    summary = artifact.facts["summary"]
    perplexity = summary.get("validation_perplexity", summary.get("validation/perplexity"))
    quality = ""
    if perplexity is not None:
        quality = f", validation perplexity {perplexity:,.4g} (all reviews)"

    seconds = seconds_of(artifact.manifest) or 0.0
    return f"{facts['name']} in {duration(seconds)}{quality}"


def plan_fit(
    settings: FitSettings,
    spec: FittedSpec,
    prepared: Prepared,
    parts: Mapping[str, Fitted] | None = None,
) -> FitPlan:
    """Return the plan of a fit; a warm start is resolved here, and word vectors are looked up.

    Raises:
        TrackingUnavailable: The registry, which knows the champion of a warm start, does not answer.
    """
    if isinstance(spec, ClassifierOptions):
        spec = replace(spec, labels=prepared.label_names)

    vectors = start_vectors(settings.workspace, settings.vectors, spec, prepared)
    made = {START_VECTORS: vectors} if vectors else {}
    if isinstance(spec, ClassifierOptions) and prepared.labels:
        made[LABELS] = prepared.labels

    plan = FitPlan(
        settings,
        spec,
        prepared,
        parts or {},
        made,
    )
    vocabulary = prepared.vocabularies[spec.vocabulary]
    start = starting_point(
        settings.workspace,
        settings.promotion,
        spec,
        vocabulary,
        plan.inputs,
    )
    return replace(plan, start=start)


def fit_version(spec: FittedSpec, stage: str = FIT) -> str:
    """Return the version of the fits of a model."""
    return running_code().version(WORKERS[stage], _only_kind(spec))


def _only_kind(spec: FittedSpec) -> str:
    """Return the kind of a model that opens no others; "" for a model with parts."""
    return "" if parts_of(spec) else spec.kind


def fitted_parts(spec: FittedSpec, fitted: Mapping[str, Fitted]) -> dict[str, Fitted] | None:
    """Return the fitted parts of a model by name (most models have none); None while a part is not fitted yet."""
    names = parts_of(spec)
    if not all(name in fitted for name in names):
        return None
    return {name: fitted[name] for name in names}


def bundle_digest(folder: Path) -> str:
    """Return the digest of a bundle, as `models.bundles.bundle.load_bundle` gives it, without opening the model."""
    return sha256_of(folder / SPEC)


def relative_cost(spec: FittedSpec) -> float:
    """Return the rough relative duration of a fit; the longest fits start first so that the workers end together."""
    training = getattr(spec, "training", None)
    if training is None:
        return 0.0
    return float(training.epochs * weights_read(spec))


def reading_cost(spec: FittedSpec, specs: Mapping[str, FittedSpec]) -> tuple[float, int]:
    """Return the rough relative duration of scoring with a model: for networks, then for all models in it.

    Args:
        specs: All models by name; its parts are among them.
    """
    costs = [reading_cost(specs[part], specs) for part in parts_of(spec)]
    networks = weights_read(spec) + sum(network for network, _ in costs)
    return networks, 1 + sum(models for _, models in costs)


def weights_read(spec: FittedSpec) -> int:
    """Return roughly how many weights a network reads at a position, without those of its output; else 0."""
    hidden = getattr(spec, "hidden", 0)
    embedding = getattr(spec, "embedding", 0)
    gates = GATES.get(spec.kind, 1)
    return int(gates * hidden * (hidden + embedding))


def device_of(execution: ExecutionConfig) -> str:
    """Return "cpu" or "cuda"; see `chosen_device`."""
    return chosen_device(execution.device)


def threads_of(execution: ExecutionConfig) -> int:
    """Return the number of threads of one fit: as configured, or the cores divided by the workers."""
    return execution.threads or max(1, available_cores() // execution.workers)


def ranks_of(execution: ExecutionConfig, spec: FittedSpec) -> int:
    """Return the number of processes of one fit: as configured, or one per GPU; 1 for classifiers and n-gram models.

    Without a number in the settings, no process gets fewer than `ROWS_OF_RANK` rows of the batch, because a GPU is
    hardly faster with fewer. The other GPUs can serve other fits.
    """
    training = getattr(spec, "training", None)
    if training is None or isinstance(spec, ClassifierOptions):
        return 1

    gpus = 1
    if device_of(execution) == "cuda":
        gpus = usable_together(visible_gpu_names())
    return execution.ranks or max(1, min(gpus, training.batch // ROWS_OF_RANK))


def remove(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
