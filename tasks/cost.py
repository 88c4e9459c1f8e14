"""What a fitted model costs: parameters, size on disk, seconds of fitting and of scoring; read from the manifests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.specs import parts_of
from tasks.evaluate import Measured
from tasks.fit import BUNDLE_FOLDER

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
        parameters (of a model that is made of others: of its parts), megabytes (10^6 bytes of the bundle),
        fit_seconds (wall time of the fit's stage, without its parts), fit_cpu_seconds (of the processor, in updates),
        trained_tokens_per_second, of neural models quantiles of the updates' times, peak memory and share of the
        matrix-product peak (`models/neural/throughput.py`), score_seconds and tokens_per_second (of scoring the test
        reviews), seconds_per_million_tokens (its reciprocal).
    """
    parameters = _parameters(measured)
    return {model.name: {"parameters": parameters[model.name], **_cost(model)} for model in measured}


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


def _parameters(measured: Sequence[Measured]) -> dict[str, float | None]:
    """Return the parameters of each model; one that is made of others has those of its parts, which come before it."""
    specs = {model.name: model.fitted.spec for model in measured}
    own = {model.name: _summary(model).get("parameters") for model in measured}

    def of(name: str) -> float | None:
        if name not in specs or not (parts := parts_of(specs[name])):
            return own.get(name)
        counted = [of(part) for part in parts]
        return None if None in counted else sum(count for count in counted if count is not None)

    return {name: of(name) for name in specs}


def _summary(model: Measured) -> dict[str, Any]:
    return dict(model.fitted.artifact.facts.get("summary", {}))
