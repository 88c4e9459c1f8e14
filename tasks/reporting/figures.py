"""Draw the figures of a run's report; a later run with the same measurements takes them from the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from core.config.run_config import RunConfig
from core.store import Artifact
from evaluation.plots.curves import journal_lines
from evaluation.reports.report_pictures import DrawnFigure, pictures_of
from evaluation.reports.run_results import ModelResults, RunResults
from evaluation.statistics.floor import Floor
from evaluation.writing.audit import EXPOSURE_FILE, NOVELTY_FILE
from models.specs import parts_of
from tasks.evaluation.compare import Evaluated
from tasks.evaluation.evaluate import FIGURES_FILE, SAMPLES_FILE, Measured
from tasks.evaluation.observe import CONTEXT_FILE, RELIABILITY_FILE, TOKEN_SCORES_FILE
from tasks.fitting.fit import bundle_digest
from tasks.stage import run_stage
from tasks.tracking.track import JOURNAL

VERSION = 1
WORDS_FILE = "figures.json"
"""Words and drawing of each figure; its PNG image is a file of its own."""


def report_figures(config: RunConfig, evaluated: Evaluated, winner: str) -> list[DrawnFigure]:
    """Return the figures of a run's measurements, before the gate decides; draw them if the store lacks them.

    Args:
        config: Configuration of the run.
        evaluated: The measured models.
        winner: The model that the figures show first.
    """
    options = {
        "winner": winner, "baseline": config.baseline, "confidence": config.evaluation.confidence,
        "models": [model.name for model in evaluated.models], "floor": evaluated.floor,
    }  # fmt: skip
    inputs = {
        f"{what} {model.name}": artifact.digest
        for model in evaluated.models
        for what, artifact in (
            ("fit", model.fitted.artifact), ("scores", model.test), ("samples", model.samples),
            ("observations", model.observed), ("audit", model.audit),
        )
    }  # fmt: skip
    table = hashlib.sha256(evaluated.comparison.table.write_json().encode()).hexdigest()  # has costs besides results
    inputs |= {"comparison": evaluated.comparison.artifact.digest, "table": table}

    def make(work: Path) -> dict[str, Any]:
        drawn = [one.drawn for one in pictures_of(measured_results(config, evaluated, winner))]
        _write(drawn, work)
        return {"figures": len(drawn)}

    return _read(run_stage(config, "figures", VERSION, options, inputs, make).artifact.folder)


def _write(drawn: Sequence[DrawnFigure], folder: Path) -> None:
    for figure in drawn:
        (folder / f"{figure.name}.png").write_bytes(figure.png)
    told = [{name: value for name, value in asdict(figure).items() if name != "png"} for figure in drawn]
    (folder / WORDS_FILE).write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")


def _read(folder: Path) -> list[DrawnFigure]:
    told = json.loads((folder / WORDS_FILE).read_text(encoding="utf-8"))
    return [DrawnFigure(**figure, png=(folder / f"{figure['name']}.png").read_bytes()) for figure in told]


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
        reliability=_table(observed, RELIABILITY_FILE), context=_table(observed, CONTEXT_FILE),
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
