"""Summarise a training of word vectors as plain values, for the command line's JSON."""

from __future__ import annotations

from typing import Any

from core.config.run_config import RunConfig
from tasks.embedding.promote import NAMES
from tasks.fitting.fitted import FittedVectors
from tasks.promotion.promote import Promotion
from tasks.tracking.track import tracker_of

SHOWN = ("kind", "words", "dimensions", "mean_cosine", "work", "validation", "threads")


def summarise_vectors(config: RunConfig, fitted: FittedVectors, promotion: Promotion, run_id: str) -> dict[str, Any]:
    """Return where the word vectors are, their figures, the decision, and where to look further."""
    artifact, decision = fitted.artifact, promotion.decision
    return {
        "vectors": str(fitted.bundle), "digest": artifact.digest, **{name: artifact.facts[name] for name in SHOWN},
        **{name: decision.figures[figure] for one, name in NAMES.items() if (figure := f"challenger, {one}")
           in decision.figures}, "reused": fitted.reused,
        "registered_model": config.embedding.model_name, "version": promotion.version,
        "champion_version": promotion.champion_version, "promoted": decision.promote, "reason": decision.reason,
        "mlflow_run_id": run_id, "mlflow_page": tracker_of(config).link(run_id),
    }  # fmt: skip
