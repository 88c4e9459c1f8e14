"""Fit the models: one artifact per model with its bundle and its journal of metrics, and one MLflow run."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.environment import available_cores, chosen_device
from core.errors import Diverged
from core.processes.gpus import usable_together, visible_gpu_names
from core.store import Built, Store, sha256_of_file
from models.bundles.bundle import SPEC
from models.classification.spec import ClassifierSpec
from models.specs import ModelSpec, identity, parts_of
from tasks.cluster import address_for_children
from tasks.code_version import WORKERS, running_code
from tasks.data.prepare import VOCABULARY_FILE, Prepared
from tasks.fitting.fit_process import run_job
from tasks.fitting.fitted import Fitted
from tasks.fitting.job import LanguageModelJob
from tasks.fitting.listeners import EnoughSeen, both
from tasks.fitting.on_cluster import ClusterRun
from tasks.fitting.tracked import tracked_fit
from tasks.fitting.warm_start import INPUT, Start, starting_point
from tasks.gpus import device_for, gpu_slot, is_neural
from tasks.limits import GPU
from tasks.progress import progress
from tasks.stage import MADE_ELSEWHERE, run_stage, stage
from tasks.start_vectors import INPUT as VECTORS
from tasks.start_vectors import start_vectors
from tasks.track import JOURNAL
from training.context import Pace

RunJob = Callable[[LanguageModelJob, Callable[[dict[str, Any]], None]], Mapping[str, float]]
ROWS_OF_RANK = 64
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitPlan:
    """Everything that determines a fit's digest, with its starting point and the folder of its word vectors."""

    spec: ModelSpec
    inputs: dict[str, str]
    parts: dict[str, str]
    start: Start
    vectors: Path | None = None

    @property
    def digest(self) -> str:
        """Digest of the fitted model's artifact."""
        return Store.digest("fit", fit_version(self.spec), identity(self.spec), self.inputs)


@stage("fit", run_name="fit {spec.name}")
def fit(
    config: RunConfig, spec: ModelSpec, prepared: Prepared, parent_run_id: str, parts: Mapping[str, Fitted]
) -> Fitted:
    """Fit one model in a child process; if the store has the fit, reuse it and link its MLflow run.

    *parts* are the fitted parts of the model by name. A mixture of the same bundles is not fitted again.
    """
    plan = plan_fit(config, spec, prepared, parts)
    return tracked_fit(
        config, "fit", spec, plan.digest, prepared, parent_run_id,
        lambda listen: build_fit(config, plan, prepared, listen, parts), plan.start.note,
    )  # fmt: skip


def plan_fit(
    config: RunConfig, spec: ModelSpec, prepared: Prepared, parts: Mapping[str, Fitted] | None = None
) -> FitPlan:
    """Return the plan of a fit; a warm start is resolved here, and word vectors are looked up.

    Raises:
        TrackingUnavailable: The registry, which knows the champion of a warm start, does not answer.
    """
    tokens = prepared.tokens[spec.vocabulary]
    inputs = {split: tokens[split].digest for split in ("train", "validation")}
    digests = {name: bundle_digest(part.bundle) for name, part in (parts or {}).items()}
    inputs |= {f"part {name}": digest for name, digest in digests.items()}
    start = starting_point(config, spec, prepared.vocabularies[spec.vocabulary], inputs)
    inputs |= {INPUT: start.digest} if start.digest else {}
    vectors = start_vectors(config, spec, prepared)
    if vectors is None:
        return FitPlan(spec, inputs, digests, start)
    return FitPlan(spec, inputs | {VECTORS: vectors.digest}, digests, start, vectors.folder)


def build_fit(
    config: RunConfig, plan: FitPlan, prepared: Prepared, listen: Callable[[Path], None],
    parts: Mapping[str, Fitted] | None = None, run: RunJob | None = None,
) -> Built:
    """Return the artifact of a planned fit; if the store does not have it, fit it in a child process.

    *listen* is called at every progress message with the path of the journal, which may not exist yet. *run* runs the
    job, by default in a child process; `reviewlm check` fits tiny models in its own.

    Raises:
        FitError, InputError, RankFailed: See `run_job`.
        EnoughSeen: Raised by *listen*.
    """
    spec = plan.spec
    away = run is None and is_handed_over(config, spec, parts)
    cluster = ClusterRun(config, _only_kind(spec)) if away else None

    def make(work: Path) -> dict[str, Any]:
        job = job_of(config, plan, prepared, work, parts)
        slot = nullcontext(()) if cluster else gpu_slot(job.device, job.ranks)
        runs = cluster or run or run_job
        with slot as gpus, progress(spec.name, 1, "tokens") as report:
            try:
                summary = runs(replace(job, gpus=gpus), both(report, listen, work / JOURNAL))
            except (EnoughSeen, Diverged):  # resuming from the last state would diverge again
                for leftover in work.iterdir():
                    remove(leftover)
                raise
        for leftover in work.glob("checkpoint*"):
            remove(leftover)
        facts = {"name": spec.name, "kind": spec.kind, "summary": summary}
        return {**facts, MADE_ELSEWHERE: cluster.made_by} if cluster else facts

    trained = hasattr(spec, "training")  # only such a fit writes checkpoints
    return run_stage(
        config, "fit", identity(spec), plan.inputs, make, spec.name, resumable=trained,
        kind=_only_kind(spec),
    )  # fmt: skip


def is_handed_over(
    config: RunConfig, spec: ModelSpec | ClassifierSpec, parts: Mapping[str, Fitted] | None = None
) -> bool:
    """Return whether the nodes of `execution.cluster` fit a model: only networks, and models that hold one."""
    return bool(config.execution.cluster) and is_neural(spec, [part.spec for part in (parts or {}).values()])


def fit_version(spec: ModelSpec) -> str:
    """Return the version of the fits of a model."""
    return running_code().version(WORKERS["fit"], _only_kind(spec))


def _only_kind(spec: ModelSpec) -> str:
    """Return the kind of a model that opens no others; "" for a model with parts."""
    return "" if parts_of(spec) else spec.kind


def job_of(
    config: RunConfig, plan: FitPlan, prepared: Prepared, work: Path, parts: Mapping[str, Fitted] | None = None,
    pace: Pace | None = None,
) -> LanguageModelJob:  # fmt: skip
    """Return the job of a planned fit; with *pace*, of the part of its training before the decay."""
    spec, ranks = plan.spec, ranks_of(config, plan.spec)
    tokens, vocabulary = prepared.tokens[spec.vocabulary], prepared.vocabularies[spec.vocabulary]
    lineage = made_of(plan.parts) | {name: plan.inputs[name] for name in (INPUT, VECTORS) if name in plan.inputs}
    return LanguageModelJob(
        spec=spec, vocabulary=vocabulary.folder / VOCABULARY_FILE, train=tokens["train"].folder,
        validation=tokens["validation"].folder, work=work,
        facts={"fit_digest": plan.digest, "clean_digest": prepared.clean.digest, **lineage},
        device=device_for(config, spec, [part.spec for part in (parts or {}).values()]),
        ranks=ranks, threads=max(1, threads_of(config) // ranks),
        parts={name: part.bundle for name, part in (parts or {}).items()},
        cluster=_cluster_of(config, spec), init_weights=plan.start.folder, vectors=plan.vectors,
        system_metrics_seconds=config.execution.system_metrics_seconds, pace=pace,
    )


def made_of(digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the fact of a bundle that names its parts, with the digest of each; none for a model without parts."""
    return {"parts": dict(digests)} if digests else {}


def _cluster_of(config: RunConfig, spec: ModelSpec) -> str | None:
    """Return the address of the cluster that counts n-grams; None for other models, and without a cluster."""
    return address_for_children(config.execution.cluster) if spec.kind == "ngram" else None


def limits_of_fits(config: RunConfig) -> list[str]:
    """Return the limits that fits wait for, and the scoring of networks, of which the champion may be one."""
    return [GPU] if device_of(config) == "cuda" else []


def fitted_parts(spec: ModelSpec, fitted: Mapping[str, Fitted]) -> dict[str, Fitted] | None:
    """Return the fitted parts of a model by name (most models have none); None while a part is not fitted yet.

    Args:
        fitted: The models that are already fitted, by name.
    """
    names = parts_of(spec)
    return {name: fitted[name] for name in names} if all(name in fitted for name in names) else None


def bundle_digest(folder: Path) -> str:
    """Return the digest of a bundle, as `models.bundles.bundle.load_bundle` gives it, without opening the model."""
    return sha256_of_file(folder / SPEC)


def relative_cost(spec: ModelSpec) -> float:
    """Return the rough relative duration of a fit; the longest fits start first so that the workers end together."""
    training = getattr(spec, "training", None)
    return 0.0 if training is None else training.epochs * getattr(spec, "hidden", 1)


def device_of(config: RunConfig) -> str:
    """Return "cpu" or "cuda"; see `chosen_device`."""
    return chosen_device(config.execution.device)


def threads_of(config: RunConfig) -> int:
    """Return the number of threads of one fit: as configured, or the cores divided by the workers."""
    return config.execution.threads or max(1, available_cores() // config.execution.workers)


def ranks_of(config: RunConfig, spec: ModelSpec) -> int:
    """Return the number of processes of one fit: as configured, or one per GPU; 1 for models without a gradient.

    Without a number in the settings, no process gets fewer than `ROWS_OF_RANK` rows of the batch, because a GPU is
    hardly faster with fewer. The other GPUs can serve other fits.
    """
    training = getattr(spec, "training", None)
    if training is None:
        return 1
    gpus = usable_together(visible_gpu_names()) if device_of(config) == "cuda" else 1
    return config.execution.ranks or max(1, min(gpus, training.batch // ROWS_OF_RANK))


def remove(path: Path) -> None:
    """Delete a file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
