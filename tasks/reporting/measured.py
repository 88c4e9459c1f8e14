"""Read what a run has measured: all that the figures of its report show."""

from __future__ import annotations

import json

import polars as pl

from core.config.run_config import RunConfig
from core.store import Artifact
from evaluation.reports.run_results import ModelResults, RunResults, journal_lines
from evaluation.statistics.floor import Floor
from evaluation.writing.audit import EXPOSURE_FILE, NOVELTY_FILE
from models.specs import parts_of
from tasks.evaluation.compare import Evaluated
from tasks.evaluation.evaluate import FIGURES_FILE, Measured
from tasks.fitting.fit import bundle_digest
from tasks.measuring.observed import RELIABILITY_FILE, TOKEN_SCORES_FILE
from tasks.measuring.samples import SAMPLES_FILE
from tasks.tracking.track import JOURNAL


def measured_results(config: RunConfig, evaluated: Evaluated, winner: str) -> RunResults:
    """Return what a run has measured: all that its figures show."""
    floor = evaluated.floor
    return RunResults(
        models=tuple(_model(model) for model in evaluated.models),
        table=evaluated.comparison.table,
        winner=winner,
        baseline=config.baseline,
        confidence=config.evaluation.confidence,
        floor=Floor(**{name: floor[name] for name in ("reviews", "explained", "nats", "bytes")}) if floor else None,
        slices=evaluated.comparison.slices,
    )


def _model(model: Measured) -> ModelResults:
    facts, observed, audited = model.test.facts, model.observed, model.audit
    figures = json.loads((model.test.folder / FIGURES_FILE).read_text(encoding="utf-8"))
    return ModelResults(
        name=model.name, kind=model.fitted.spec.kind, unit=facts["unit"], vocabulary=facts["vocabulary"],
        adaptation=facts["adaptation"], curve=journal_lines(model.fitted.artifact.folder / JOURNAL),
        samples=_table(model.samples, SAMPLES_FILE), tokens=_table(observed, TOKEN_SCORES_FILE),
        reliability=_table(observed, RELIABILITY_FILE),
        observed=observed.facts, audit=audited.facts, novelty=_table(audited, NOVELTY_FILE),
        exposure=_table(audited, EXPOSURE_FILE), parts=parts_of(model.fitted.spec),
        policies=figures["policies"], kept=_kept(model),
        digests={"fit": model.fitted.artifact.digest, "bundle": bundle_digest(model.fitted.bundle),
                 "scores": model.test.digest},
    )  # fmt: skip


def _kept(model: Measured) -> tuple[float, float] | None:
    """Return tokens seen by a network's final weights and their perplexity on all validation reviews, if known."""
    summary = model.fitted.artifact.facts.get("summary", {})
    found = summary.get("best_tokens"), summary.get("validation_perplexity")
    return None if None in found else (float(found[0]), float(found[1]))


def _table(artifact: Artifact, file: str) -> pl.DataFrame:
    return pl.read_parquet(artifact.folder / file)
