"""What a fitted model costs: parameters, size on disk, seconds of fitting and of scoring; read from the manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.specs import parts_of
from tasks.evaluation.evaluate import Measured
from tasks.fitting.fit import BUNDLE_FOLDER

OF_FIT = {
    "fit_cpu_seconds": "cpu_seconds",
    "trained_tokens_per_second": "tokens_per_second",
    "step_seconds_p50": "step_seconds/p50",
    "step_seconds_p90": "step_seconds/p90",
    "step_seconds_p99": "step_seconds/p99",
    "peak_memory_megabytes": "peak_memory_megabytes",
    "peak_gpu_memory_megabytes": "peak_gpu_memory_megabytes",
    "product_peak_share": "product_peak_share",
}
"""What the fit itself has measured, under the names of its summary."""
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
    """Return by name of model what it costs; None where it was not recorded.

    Returns:
        parameters (of a model that is made of others: of its parts), megabytes (10^6 bytes of the bundle), fit_seconds
        (wall time of the fit's stage, and of those of its parts), fit_cpu_seconds (of the processor, in updates, parts
        included), trained_tokens_per_second, of neural models quantiles of the updates' times, peak memory and share
        of the matrix-product peak (`models/neural/training/throughput.py`), score_seconds and tokens_per_second (of
        scoring the test reviews), seconds_per_million_tokens (its reciprocal).
    """
    parts = {model.name: parts_of(model.fitted.spec) for model in measured}
    own = {model.name: {"parameters": _summary(model).get("parameters"), **_cost(model)} for model in measured}
    return {name: own[name] | with_parts(name, own, parts) for name in own}


def with_parts(
    name: str, own: Mapping[str, Mapping[str, float | None]], parts: Mapping[str, Sequence[str]]
) -> dict[str, float | None]:
    """Return the parameters and fit times of a model together with those of its parts, each part counted once.

    Args:
        name: Of the model.
        own: By name of model, its own parameters, fit_seconds and fit_cpu_seconds, as far as they are known.
        parts: By name of model, the names of the models that it is made of.

    Returns:
        None for what is not known of one of them. Updates, whose processor time is fit_cpu_seconds, only networks have.
    """
    whole = _within(name, parts)

    def total(figure: str, names: Sequence[str]) -> float | None:
        values = [own[one].get(figure) if one in own else None for one in names]
        return None if not values or None in values else sum(value for value in values if value is not None)

    updated = [one for one in whole if one in own and own[one].get("fit_cpu_seconds") is not None]
    return {
        "parameters": total("parameters", [one for one in whole if not parts.get(one)]),
        "fit_seconds": total("fit_seconds", whole), "fit_cpu_seconds": total("fit_cpu_seconds", updated),
    }


def _within(name: str, parts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a model and all that it is made of, parts of parts too, each once."""
    inner = [one for part in parts.get(name, ()) for one in _within(part, parts)]
    return list(dict.fromkeys([name, *inner]))


def _cost(model: Measured) -> dict[str, float | None]:
    manifest, summary = model.fitted.artifact.manifest, _summary(model)
    bundle = [entry["bytes"] for name, entry in manifest["files"].items() if name.startswith(f"{BUNDLE_FOLDER}/")]
    facts = model.test.facts
    # A stage that measured its own scoring says so; else its wall time, loading included, is all that is known.
    seconds = facts.get("score_seconds") or model.test.manifest.get("seconds")
    speed = facts["tokens"] / seconds if seconds else None
    return {
        "megabytes": sum(bundle) / 1e6,
        "fit_seconds": manifest.get("seconds"),
        **{name: summary.get(known) for name, known in OF_FIT.items()},
        "score_seconds": seconds,
        "tokens_per_second": speed,
        "seconds_per_million_tokens": 1e6 / speed if speed else None,
    }


def _summary(model: Measured) -> dict[str, Any]:
    return dict(model.fitted.artifact.facts.get("summary", {}))
