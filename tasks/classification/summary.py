"""Summarise a run of classifiers as plain values, for the command line's JSON."""

from __future__ import annotations

from typing import Any

from core.config.run_config import RunConfig
from core.errors import ConfigError
from core.manifest import seconds_of
from tasks.classification.compare import Compared
from tasks.data.prepare import Prepared
from tasks.promotion.promote import Promotion
from tasks.stage import reuse_of_this_run
from tasks.tracking.track import tracker_of


def require_classifiers(config: RunConfig) -> None:
    """Refuse a configuration without classifiers.

    Raises:
        ConfigError: It says which preset has classifiers.
    """
    if not config.classification.models:
        raise ConfigError(
            "This configuration has no classifiers", where="classification.models", value=config.preset,
            remedy="use `--preset classify`, or a preset that extends it",
        )


def summarise_classifiers(
    config: RunConfig, prepared: Prepared, compared: Compared, promotion: Promotion, run_id: str, report: str
) -> dict[str, Any]:
    """Return the classifiers with their figures, the decision, and where to look further."""
    first = compared.rows[0]
    return {
        "models": [_model(compared, row) for row in compared.rows],
        "label": config.classification.label, "labels": first["labels"], "reviews": first["reviews"],
        "test_reviews": prepared.clean.facts["splits"]["test"]["reviews"],
        "majority": {"label": first["majority_label"], "accuracy": first["majority_accuracy"]},
        "baseline": config.classification.baseline, "challenger": promotion.challenger, "version": promotion.version,
        "champion_version": promotion.champion_version, "registered_model": config.classification.model_name,
        "promoted": promotion.decision.promote, "reason": promotion.decision.reason,
        **reuse_of_this_run(), "mlflow_run_id": run_id, "mlflow_page": tracker_of(config).link(run_id),
        "report": report,
    }  # fmt: skip


def _model(compared: Compared, row: dict[str, Any]) -> dict[str, Any]:
    fitted = compared.named(row["name"]).fitted
    figures = {name: value for name, value in row.items() if name not in ("name", "labels", "majority_label")}
    return {
        "name": row["name"], "kind": fitted.spec.kind, "mlflow_run_id": fitted.run_id, "test": figures,
        "validation": compared.validation[row["name"]], "seconds": seconds_of(fitted.artifact.manifest),
        "parameters": fitted.artifact.facts["summary"].get("parameters"),
    }  # fmt: skip
