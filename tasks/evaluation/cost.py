"""Read the cost of fitted models from manifests: parameters, size on disk, seconds of fitting and scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.manifest import seconds_of
from core.store import Artifact
from models.specs import parts_of
from tasks.evaluation.evaluate import Measured
from tasks.fitting.job import BUNDLE_FOLDER

OF_FIT = {
    "fit_cpu_seconds": "cpu_seconds",
    "trained_tokens_per_second": "tokens_per_second",
    "step_seconds_p50": "step_seconds/p50",
    "step_seconds_p90": "step_seconds/p90",
    "step_seconds_p99": "step_seconds/p99",
    "peak_memory_megabytes": "peak_memory_megabytes",
    "peak_gpu_memory_megabytes": "peak_gpu_memory_megabytes",
}
"""Figures that the fit itself measures: column of the cost table → name in the fit's summary."""
COSTS = (
    "parameters",
    "megabytes",
    "fit_seconds",
    *OF_FIT,
    "score_seconds",
    "tokens_per_second",
    "seconds_per_million_tokens",
)


def costs_of(measured: Sequence[Measured]) -> dict[str, dict[str, float | None]]:
    """Return the cost of each model by name; None for figures that were not recorded.

    Returns:
        parameters (for a model with parts: those of its parts), megabytes (10^6 bytes of the bundle), fit_seconds (see
        `seconds_of`, parts included), fit_cpu_seconds (processor time of the updates, parts included),
        trained_tokens_per_second; for neural models quantiles of the update times and peak memory; score_seconds
        and tokens_per_second (of scoring the test reviews), seconds_per_million_tokens.
    """
    parts = {model.name: parts_of(model.fitted.spec) for model in measured}
    costs = {model.name: cost_of_fit(model.fitted.artifact) | _cost(model) for model in measured}
    return {name: costs[name] | with_parts(name, costs, parts) for name in costs}


def cost_of_fit(fit: Artifact) -> dict[str, float | None]:
    """Return what a fit itself took, without its parts: parameters, fit_seconds and `OF_FIT`; None if not recorded."""
    summary = fit.facts.get("summary", {})
    measured = {name: summary.get(key) for name, key in OF_FIT.items()}
    return {"parameters": summary.get("parameters"), "fit_seconds": seconds_of(fit.manifest), **measured}


def with_parts(
    name: str, costs: Mapping[str, Mapping[str, float | None]], parts: Mapping[str, Sequence[str]]
) -> dict[str, float | None]:
    """Return parameters and fit times of a model including its parts, each part counted once.

    Args:
        costs: By model name, its own parameters, fit_seconds and fit_cpu_seconds, as far as known.
        parts: By model name, the names of its parts.

    Returns:
        parameters, fit_seconds, fit_cpu_seconds; None if the value of a part is not known. fit_cpu_seconds sums only
        the models that have it: it is the processor time of updates, and only networks have updates.
    """
    whole = _within(name, parts)

    def total(figure: str, names: Sequence[str]) -> float | None:
        values = [costs[one].get(figure) if one in costs else None for one in names]
        return None if not values or None in values else sum(value for value in values if value is not None)

    updated = [one for one in whole if one in costs and costs[one].get("fit_cpu_seconds") is not None]
    return {
        "parameters": total("parameters", [one for one in whole if not parts.get(one)]),
        "fit_seconds": total("fit_seconds", whole), "fit_cpu_seconds": total("fit_cpu_seconds", updated),
    }


def _within(name: str, parts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of a model and of all its parts, at any depth, each once."""
    inner = [one for part in parts.get(name, ()) for one in _within(part, parts)]
    return list(dict.fromkeys([name, *inner]))


def _cost(model: Measured) -> dict[str, float | None]:
    files = model.fitted.artifact.manifest["files"]
    bundle = [entry["bytes"] for name, entry in files.items() if name.startswith(f"{BUNDLE_FOLDER}/")]
    facts = model.test.facts
    # Without `score_seconds` in the facts, use the stage's wall time, which includes loading the model.
    seconds = facts.get("score_seconds") or model.test.manifest.get("seconds")
    speed = facts["tokens"] / seconds if seconds else None
    return {
        "megabytes": sum(bundle) / 1e6,
        "score_seconds": seconds,
        "tokens_per_second": speed,
        "seconds_per_million_tokens": 1e6 / speed if speed else None,
    }
