"""Compare the plan of a run with what the run did: passes, perplexity beside the n-gram model, time, bits per byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from time import time
from typing import Any

from reviewlm.models.base import STATIC
from reviewlm.tasks.evaluation.intervals import Evaluated
from reviewlm.tasks.execution.stage import started
from reviewlm.tasks.planning.plan import RunPlan
from reviewlm.tasks.planning.rule import BASELINE, NETWORK

FEWEST_PASSES = 0.75
"""Share of the planned passes below which the plan was not kept."""
LATEST = 1.2
"""Share of the given time above which the plan was not kept."""
PERPLEXITY = "perplexity"


def describe_outcome(made: RunPlan, evaluated: Evaluated) -> dict[str, Any]:
    """Return the plan with what was reached (`reached`) and the verdict (`kept`, and `verdict` in sentences)."""
    static = [model for model in evaluated.models if model.test.facts["adaptation"] == STATIC]
    validation = {model.name: model.validation.facts for model in static}
    reached: dict[str, Any] = {
        "bits": min(float(facts["open_bits_per_byte"]) for facts in validation.values()),
        "minutes": round((time() - started().timestamp()) / 60, 2),
    }
    for model in static:
        if model.name == NETWORK and hasattr(model.fitted.spec, "training"):
            reached["passes"] = model.fitted.spec.training.epochs

    for name, key in ((NETWORK, "network_perplexity"), (BASELINE, "baseline_perplexity")):
        if name in validation and made.network is not None:
            reached[key] = validation[name][PERPLEXITY]

    return judge_plan({**asdict(made), "reached": reached})


def judge_plan(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan and what was reached, with the verdict added.

    The range of bits per byte is of the planned training, so it says nothing (`inside` is None) if the network was
    trained for less: then the mixture has its bits from the n-gram model.

    Args:
        outcome: Values of a `RunPlan`, and `reached`: bits, minutes; with a network also passes, network_perplexity and
            baseline_perplexity.
    """
    expected = outcome["expected"]
    reached = outcome["reached"]
    trained = not _too_few_passes(outcome)
    in_time = reached["minutes"] <= LATEST * outcome["minutes"]
    inside = expected["low"] <= reached["bits"] <= expected["high"] if trained else None
    worse = trained and reached["bits"] > expected["high"]
    judged = {
        **outcome,
        "reached": {**reached, "inside": inside},
        "kept": trained and in_time and not worse,
    }
    return {**judged, "verdict": _sentences(judged)}


def _planned_passes(outcome: Mapping[str, Any]) -> float | None:
    """Return the planned passes of the network, None if there is no network or the user has set their number."""
    if outcome.get("ended_by") == "user":
        return None
    planned: float | None = (outcome.get("network") or {}).get("passes")
    return planned


def _too_few_passes(outcome: Mapping[str, Any]) -> bool:
    planned = _planned_passes(outcome)
    passes = outcome["reached"].get("passes")
    if planned is None or passes is None or outcome.get("ended_by") == "validation":
        return False
    return bool(passes < FEWEST_PASSES * planned)


def _sentences(outcome: Mapping[str, Any]) -> list[str]:
    """Return the verdict of a judged plan: kept or not, passes and time; perplexities; bits per byte."""
    reached = outcome["reached"]
    took = f"the run took {reached['minutes']:.1f} of {outcome['minutes']:g} min"
    passes = _passes_in_words(outcome)
    facts = f"{passes}; {took}" if passes else took
    sentences = [f"Plan {'kept' if outcome['kept'] else 'not kept'}: {facts}."]
    if needs := outcome.get("needs"):
        sentences += [f"A network was left out: it needs --minutes {needs} on this machine now."]

    if perplexities := _perplexities_in_words(reached):
        sentences += [perplexities]

    return [*sentences, _bits_in_words(outcome)]


def _passes_in_words(outcome: Mapping[str, Any]) -> str:
    planned = _planned_passes(outcome)
    passes = outcome["reached"].get("passes")
    if planned is None or passes is None:
        return ""

    words = f"the network made {passes:.2g} of {planned:.2g} planned passes over the reviews"
    if _too_few_passes(outcome):
        return f"{words}, because the machine was slower than measured before"
    if outcome.get("ended_by") == "validation" and passes < planned:
        return f"{words}, because validation did not improve any more"

    return words


def _perplexities_in_words(reached: Mapping[str, Any]) -> str:
    network, baseline = (
        reached.get(name) for name in ("network_perplexity", "baseline_perplexity")
    )
    if network is None or baseline is None:
        return ""
    words = f"Perplexity on validation: the network {network:.4g}, the 5-gram model {baseline:.4g}"
    if network > baseline:
        return f"{words}: the network alone is worse, and the mixture lives on the 5-gram model."
    return f"{words}."


def _bits_in_words(outcome: Mapping[str, Any]) -> str:
    expected = outcome["expected"]
    reached = outcome["reached"]
    bits = f"On validation {reached['bits']:.3f} bits/byte"
    if expected["low"] == expected["high"]:  # an n-gram model alone: measured, not expected
        return f"{bits}."

    ends = f"{expected['low']:.3f} to {expected['high']:.3f}"
    if reached["inside"] is None:
        return f"{bits}; {ends} were expected of the planned training, which did not take place."
    if reached["inside"]:
        return f"{bits}, as expected ({ends})."

    side = "worse" if reached["bits"] > expected["high"] else "better"
    return f"{bits}, {side} than expected ({ends})."
