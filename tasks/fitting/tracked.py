"""Fit a model of any family under an MLflow run of its own: opened before the fit, completed with its bundle."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from core.config.run_config import RunConfig
from core.manifest import seconds_of
from core.store import Artifact, Built
from tasks.data.prepare import Prepared
from tasks.fitting.fitted import FittedSpec, StoredFit
from tasks.fitting.job import BUNDLE_FOLDER
from tasks.fitting.listeners import now_and_then
from tasks.progress import duration
from tasks.stage import result_as_task_state, show_facts, store_of
from tasks.track import open_model_run
from tracking.tags import START_TAG

log = logging.getLogger(__name__)
Spec = TypeVar("Spec", bound=FittedSpec)


def tracked_fit(
    config: RunConfig, stage: str, spec: Spec, digest: str, prepared: Prepared, parent_run_id: str,
    build: Callable[[Callable[[Path], None]], Built], start: str = "",
) -> StoredFit[Spec]:  # fmt: skip
    """Return a fitted model; if the store has the fit, its MLflow run is linked, not made again.

    Args:
        stage: The stage that fits it, and *digest* that of its artifact.
        build: Makes the artifact, given what hears of each progress message, with the path of the journal.
        start: What its weights start from, in words; empty for fresh weights.
    """
    there = stage not in config.execution.rebuild and store_of(config).find_usable(stage, digest) is not None
    with open_model_run(config, spec, digest, prepared, parent_run_id, there) as run:
        built = build(now_and_then(run.forward))
        run.complete(built.artifact, BUNDLE_FOLDER)
    if start and not run.known:
        run.tracker.set_tags(run.run_id, {START_TAG: start})
    if not built.reused:
        log.info("fitted   %s", _in_words(built.artifact))
    show_facts(f"fit-{spec.name}", built.artifact, built.reused, f"MLflow run: {run.link}")
    return result_as_task_state(built, StoredFit(spec, built.artifact, run.run_id, built.reused))


def _in_words(artifact: Artifact) -> str:
    """Return name, time and validation perplexity of a fit, as far as it measured one."""
    facts, summary = artifact.facts, artifact.facts["summary"]
    perplexity = summary.get("validation_perplexity", summary.get("validation/perplexity"))
    quality = "" if perplexity is None else f", validation perplexity {perplexity:,.4g}"
    return f"{facts['name']} in {duration(seconds_of(artifact.manifest) or 0.0)}{quality}"
