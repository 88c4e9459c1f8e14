"""Collect the parameters that a model's MLflow run shows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from core.config.run_config import RunConfig
from tasks.data.prepare import Prepared
from tasks.fitting.fitted import FittedSpec

OBJECTIVES = {
    "ngram": {"output": "relative frequencies with discounts"},
    "mixture": {"output": "weights tuned on validation"},
    "cache": {"output": "weights tuned on validation"},
    "neural_cache": {"output": "theta, window and weights tuned on validation"},
}
"""Objective by model kind, for kinds without an output layer."""


def parameters_of(config: RunConfig, spec: FittedSpec, prepared: Prepared) -> dict[str, Any]:
    """Return the parameters in four sections: data, architecture, objective, optimiser."""
    architecture = asdict(spec)
    objective = architecture.pop("objective", OBJECTIVES.get(spec.kind, {}))
    optimiser = architecture.pop("training", {})
    data = {
        "clean": config.clean.model_dump(mode="json"),
        "split": config.split.model_dump(mode="json"),
        "vocabulary": asdict(config.vocabulary[spec.vocabulary]),
        "fingerprint": prepared.clean.digest,
    }
    return {"data": data, "architecture": architecture, "objective": objective, "optimiser": optimiser}
