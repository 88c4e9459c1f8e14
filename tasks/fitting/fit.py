"""One artifact per model: its bundle, its journal of metrics, and its MLflow run."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency

from core.config.run_config import RunConfig
from core.environment import available_cores, chosen_device, visible_gpus
from core.errors import Diverged, TrackingUnavailable
from core.store import Artifact, Built, Store, sha256_of_file
from models.bundles.bundle import SPEC
from models.specs import ModelSpec, identity, parts_of
from tasks.data.prepare import VOCABULARY_FILE, Prepared
from tasks.fitting.distributed import FOLDER
from tasks.fitting.fit_process import run_job
from tasks.fitting.warm_start import INPUT, START_TAG, Start, starting_point
from tasks.progress import Report, progress
from tasks.stage import finished, run_stage, show_facts, store_of
from tasks.tracking.track import JOURNAL, open_model_run

FIT_VERSION = 4
BUNDLE_FOLDER = "bundle"
FORWARD_SECONDS = 20.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """A fitted model: its options, its artifact, and the MLflow run that describes it."""

    spec: ModelSpec
    artifact: Artifact
    run_id: str
    reused: bool

    @property
    def bundle(self) -> Path:
        """The folder that `models.bundles.bundle.load_bundle` opens."""
        return self.artifact.folder / BUNDLE_FOLDER


@dataclass(frozen=True)
class FitPlan:
    """All that a fit's identity depends on, and where it begins."""

    spec: ModelSpec
    inputs: dict[str, str]
    parts: dict[str, str]
    start: Start

    @property
    def digest(self) -> str:
        """Of the fitted model's artifact."""
        return Store.digest("fit", FIT_VERSION, identity(self.spec), self.inputs)


class EnoughSeen(Exception):
    """Raised by a listener that wants no more of a fit: its process is ended, and nothing of it is kept."""


@task(name="fit", task_run_name="fit {spec.name}", cache_policy=NO_CACHE, persist_result=False)
def fit(
    config: RunConfig, spec: ModelSpec, prepared: Prepared, parent_run_id: str, parts: Mapping[str, Fitted]
) -> Any:
    """Fit one model in a process of its own; a finished fit is taken from the store and its run linked.

    *parts* are the fitted models that it is made of, by name: a mixture of the very same bundles is not fitted again.
    """
    plan = plan_fit(config, spec, prepared, parts)
    there = _is_there(config, plan.digest)
    with open_model_run(config, spec, plan.digest, prepared, parent_run_id, there) as run:
        built = build_fit(config, plan, prepared, _now_and_then(run.forward), parts)
        run.complete(built.artifact, BUNDLE_FOLDER)
    if plan.start.note and not run.known:
        run.tracker.set_tags(run.run_id, {START_TAG: plan.start.note})
    show_facts(f"fit-{spec.name}", built.artifact, built.reused, f"MLflow run: {run.link}")
    return finished(built, Fitted(spec, built.artifact, run.run_id, built.reused))


def plan_fit(
    config: RunConfig, spec: ModelSpec, prepared: Prepared, parts: Mapping[str, Fitted] | None = None
) -> FitPlan:
    """Return what a fit depends on; a warm start is resolved here.

    Raises:
        TrackingUnavailable: Whether there is a champion to start from cannot be told.
    """
    tokens = prepared.tokens[spec.vocabulary]
    inputs = {split: tokens[split].digest for split in ("train", "validation")}
    digests = {name: bundle_digest(part.bundle) for name, part in (parts or {}).items()}
    inputs |= {f"part {name}": found for name, found in digests.items()}
    start = starting_point(config, spec, prepared.vocabularies[spec.vocabulary], inputs)
    return FitPlan(spec, inputs | ({INPUT: start.digest} if start.digest else {}), digests, start)


def build_fit(
    config: RunConfig, plan: FitPlan, prepared: Prepared, listen: Callable[[Path], None],
    parts: Mapping[str, Fitted] | None = None,
) -> Built:
    """Return a planned fit's artifact, fitted in a process of its own where the store does not have it.

    *listen* is called at every news with the path of the journal, which need not be there yet.

    Raises:
        FitError, InputError, RankFailed: See `run_job`.
        EnoughSeen: From *listen*.
    """
    spec, digest = plan.spec, plan.digest
    tokens, vocabulary = prepared.tokens[spec.vocabulary], prepared.vocabularies[spec.vocabulary]
    ranks = ranks_of(config, spec)
    lineage = _made_of(plan.parts) | ({INPUT: plan.inputs[INPUT]} if INPUT in plan.inputs else {})

    def make(work: Path) -> dict[str, Any]:
        job = {
            "spec": asdict(spec), "vocabulary": str(vocabulary.folder / VOCABULARY_FILE), "work": str(work),
            "bundle": str(work / BUNDLE_FOLDER), "device": device_of(config),
            "ranks": ranks, "threads": max(1, threads_of(config) // ranks),
            "facts": {"fit_digest": digest, "clean_digest": prepared.clean.digest, **lineage},
            "parts": {name: str(part.bundle) for name, part in (parts or {}).items()},
            "dask": _dask_of(config, spec), "start": str(plan.start.folder) if plan.start.folder else None,
            "system_metrics_seconds": config.execution.system_metrics_seconds,
            **{split: str(tokens[split].folder) for split in ("train", "validation")},
        }
        with gpu_slot(device_of(config)), progress(spec.name, 1, "tokens") as report:
            try:
                summary = run_job(job, _both(report, listen, work / JOURNAL))
            except (EnoughSeen, Diverged):  # from its last state it would diverge again
                for leftover in work.iterdir():
                    _remove(leftover)
                raise
        for leftover in (*work.glob("checkpoint*"), *work.glob(f"{FOLDER}*")):
            _remove(leftover)
        return {"name": spec.name, "kind": spec.kind, "summary": summary}

    trained = hasattr(spec, "training")  # only such a fit leaves checkpoints
    return run_stage(config, "fit", FIT_VERSION, identity(spec), plan.inputs, make, spec.name, resumable=trained)


def _made_of(digests: Mapping[str, str]) -> dict[str, Any]:
    return {"parts": dict(digests)} if digests else {}


def _dask_of(config: RunConfig, spec: ModelSpec) -> str | None:
    """Return the address of the Dask scheduler that helps with a fit, "" for one of its own, None for no Dask."""
    wanted = spec.kind == "ngram" and config.execution.ngram_engine == "dask"
    return config.execution.dask_address if wanted else None


def gpu_slot(device: str) -> AbstractContextManager[Any]:
    """Wait for one of the slots of the limit `gpu`, which `make ui` creates; work on the processor needs none."""
    return concurrency("gpu", occupy=1) if device == "cuda" else nullcontext()


def _is_there(config: RunConfig, digest: str) -> bool:
    """Return whether the fit will be taken from the store."""
    return "fit" not in config.execution.rebuild and store_of(config).find_usable("fit", digest) is not None


def fitted_parts(spec: ModelSpec, fitted: Mapping[str, Fitted]) -> dict[str, Fitted] | None:
    """Return the fitted models that a model is made of (most are of none), by name; None while one is not fitted yet.

    Args:
        spec: The model.
        fitted: The models that are fitted, by name.
    """
    names = parts_of(spec)
    return {name: fitted[name] for name in names} if all(name in fitted for name in names) else None


def bundle_digest(folder: Path) -> str:
    """Return the digest that `models.bundles.bundle.load_bundle` gives a bundle, without opening its model."""
    return sha256_of_file(folder / SPEC)


def relative_cost(spec: ModelSpec) -> float:
    """Return roughly how long a fit takes, in no unit: the longest are started first, so that workers end together."""
    training = getattr(spec, "training", None)
    return 0.0 if training is None else training.epochs * getattr(spec, "hidden", 1)


def device_of(config: RunConfig) -> str:
    """Return "cpu" or "cuda"; see `chosen_device`."""
    return chosen_device(config.execution.device)


def threads_of(config: RunConfig) -> int:
    """Return the threads of one fit: as configured, or the cores shared out among the workers."""
    return config.execution.threads or max(1, available_cores() // config.execution.workers)


def ranks_of(config: RunConfig, spec: ModelSpec) -> int:
    """Return the processes of one fit: as configured, or as many as there are GPUs; 1 for models without a gradient."""
    training = getattr(spec, "training", None)
    if training is None:
        return 1
    gpus = visible_gpus() if device_of(config) == "cuda" else 1
    return config.execution.ranks or max(1, min(gpus, training.batch))


def _both(report: Report, listen: Callable[[Path], None], journal: Path) -> Callable[[dict[str, Any]], None]:
    """Return a listener that moves the bar and points to the journal."""

    def both(news: dict[str, Any]) -> None:
        report(news["step"], news["figures"], total=news["total"])
        listen(journal)

    return both


def _now_and_then(forward: Callable[[Path], None]) -> Callable[[Path], None]:
    """Return what forwards a journal to MLflow, but not at every news."""
    forwarded = time.monotonic()

    def listen(journal: Path) -> None:
        nonlocal forwarded
        if time.monotonic() - forwarded > FORWARD_SECONDS:
            forwarded = time.monotonic()
            try:
                forward(journal)
            except TrackingUnavailable as error:  # the journal keeps what MLflow misses; a fit goes on without it
                log.warning("%s; its figures follow later", error.what)

    return listen


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
