"""Compare the plan of a run with what the run did: passes, perplexity beside the n-gram model, time, bits per byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from time import time
from typing import Any

from reviewlm.evaluation.statistics.training_advice import Training, passes_until_best
from reviewlm.models.base import JOURNAL, STATIC, journal_lines
from reviewlm.tasks.evaluation.evaluate import Measured
from reviewlm.tasks.evaluation.intervals import Evaluated
from reviewlm.tasks.execution.progress import duration
from reviewlm.tasks.execution.stage import reuse_of_this_run, started, waited
from reviewlm.tasks.planning.plan import RunPlan
from reviewlm.tasks.planning.rule import BASELINE, NETWORK

FEWEST_PASSES = 0.75
"""Share of the planned passes below which the plan was not kept."""
MORE_PASSES = 1.05
"""Share of the planned passes from which there were more than planned."""
EARLIEST = 0.85
LATEST = 1.05
"""Shares of the given time between which the plan was kept."""
PERPLEXITY = "perplexity"
LEAST_WAIT = 1.0
"""Seconds from which a wait for another run is told."""
WHY_EARLY = {
    "validation": "validation did not improve any more",
    "length": "the network made all passes that a plan allows",
    "time": "what follows the training was quicker than planned",
}
"""Reasons for a run that ended early, by what ended its training (`RunPlan.ended_by`)."""


def describe_outcome(made: RunPlan, evaluated: Evaluated) -> dict[str, Any]:
    """Return the plan with what was reached (`reached`) and the verdict (`kept`, and `verdict` in sentences)."""
    static = [model for model in evaluated.models if model.test.facts["adaptation"] == STATIC]
    validation = {model.name: model.validation.facts for model in static}
    bits = [float(facts["open_bits_per_byte"]) for facts in validation.values()]
    seconds = time() - started().timestamp() - waited()
    reached: dict[str, Any] = {"bits": min(bits), "minutes": round(seconds / 60, 2)}
    reached["waited"] = round(waited(), 1)
    for model in static:
        if model.name == NETWORK and hasattr(model.fitted.spec, "training"):
            reached["passes"] = model.fitted.spec.training.epochs
            best = passes_until_best(training_of(model))
            if best is not None:
                reached["best_passes"] = round(best, 2)

    for name, key in ((NETWORK, "network_perplexity"), (BASELINE, "baseline_perplexity")):
        if name in validation and made.network is not None:
            reached[key] = validation[name][PERPLEXITY]

    taken = NETWORK in validation and "pace" in reuse_of_this_run()["reused"]
    return judge_plan(
        {
            **asdict(made),
            "taken": taken,
            "reached": reached,
        }
    )


def training_of(model: Measured, paced: bool = False) -> Training:
    """Return the passes and the learning curve of a fitted network; *paced* as in `Training`."""
    curve = journal_lines(model.fitted.artifact.folder / JOURNAL)
    return Training(model.name, model.fitted.spec.training.epochs, curve, paced)


def judge_plan(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan and what was reached, with the verdict added.

    A plan is kept if a network was planned, made its passes in the given time (`EARLIEST`, `LATEST`), and needs no more
    bits than expected. It is kept as well if more passes than planned fitted into less time: that is better than planned.
    Fewer passes than planned are enough if validation was best before the last of them (`best_passes`).

    It is not judged (`kept` is None) if the network was trained by an earlier run: this one did not
    need the time.

    The range of bits per byte is of the planned training, so it says nothing (`inside` is None) if the network was
    trained for less: then the mixture has its bits from the n-gram model.

    Args:
        outcome: Values of a `RunPlan`; `taken`: whether the network was trained by an earlier run; `reached`: bits,
            minutes; with a network also passes, network_perplexity and baseline_perplexity, and best_passes if it was
            over-trained.
    """
    expected = outcome["expected"]
    reached = outcome["reached"]
    trained = not _too_few_passes(outcome)
    inside = None
    if trained:
        inside = expected["low"] <= reached["bits"] <= expected["high"]

    as_good = trained and reached["bits"] <= expected["high"]
    in_time = not _late(outcome) and (not _early(outcome) or _more_passes(outcome))
    kept = outcome["network"] is not None and as_good and in_time
    judged = {
        **outcome,
        "reached": {**reached, "inside": inside},
        "kept": None if outcome.get("taken") else kept,
    }
    return {**judged, "verdict": _sentences(judged)}


def _early(outcome: Mapping[str, Any]) -> bool:
    return bool(outcome["reached"]["minutes"] < EARLIEST * outcome["minutes"])


def _late(outcome: Mapping[str, Any]) -> bool:
    return bool(outcome["reached"]["minutes"] > LATEST * outcome["minutes"])


def _planned_passes(outcome: Mapping[str, Any]) -> float | None:
    """Return the planned passes of the network, None if there is no network or the user has set their number."""
    if outcome.get("ended_by") == "user":
        return None
    planned: float | None = (outcome.get("network") or {}).get("passes")
    return planned


def _more_passes(outcome: Mapping[str, Any]) -> bool:
    """Return whether the network read the reviews more often than planned."""
    planned = _planned_passes(outcome)
    passes = outcome["reached"].get("passes")
    return planned is not None and passes is not None and passes > MORE_PASSES * planned


def _too_few_passes(outcome: Mapping[str, Any]) -> bool:
    planned = _planned_passes(outcome)
    passes = outcome["reached"].get("passes")
    if planned is None or passes is None or outcome.get("ended_by") == "validation":
        return False
    if outcome["reached"].get("best_passes") is not None:
        return False  # further passes would not have helped
    return bool(passes < FEWEST_PASSES * planned)


def _sentences(outcome: Mapping[str, Any]) -> list[str]:
    """Return the verdict of a judged plan: kept or not, or no network, with the reason; the plan; perplexities; bits."""
    parts = [why_no_network(outcome), _passes_in_words(outcome), _time_in_words(outcome)]
    facts = "; ".join(part for part in parts if part)
    words = {
        True: "Plan kept",
        False: "Plan not kept",
        None: "Plan of an earlier run",
    }
    verdict = words[outcome["kept"]]
    if outcome["network"] is None:
        verdict = "No network was trained"
    elif outcome["kept"] and _more_passes(outcome):
        verdict = "Plan kept, with more training than planned"

    sentences = [f"{verdict}: {facts}.", _planned_in_words(outcome)]
    if perplexities := _perplexities_in_words(outcome["reached"]):
        sentences += [perplexities]

    return [*sentences, _bits_in_words(outcome)]


def why_no_network(outcome: Mapping[str, Any]) -> str:
    """Return why a plan has no network, and with which time there would be one; "" if there is one."""
    if outcome["network"] is not None:
        return ""
    given = f"{outcome['minutes']:g} min"
    if needs := outcome.get("needs"):
        return f"none fits in {given} at the speed of now, --minutes {needs} would fit one"
    return f"these reviews are too few for one in {given}"


def _time_in_words(outcome: Mapping[str, Any]) -> str:
    """Return the used part of the given time, and why it is less or more."""
    reached = outcome["reached"]
    took = f"the run took {reached['minutes']:.1f} of {outcome['minutes']:g} min"
    if reached.get("waited", 0.0) >= LEAST_WAIT:
        took += f" (besides {duration(reached['waited'])} waiting for another retrain)"
    if outcome.get("taken"):
        return f"{took}, because its network was trained before"
    reason = _reason_of_time(outcome)
    return f"{took}, because {reason}" if reason else took


def _reason_of_time(outcome: Mapping[str, Any]) -> str:
    """Return why a run ended early or late; "" if it did not, or if it had no network to train."""
    early = _early(outcome)
    late = _late(outcome)
    if outcome.get("ended_by") == "user" and (early or late):
        return "the length of the training was set by you"
    if late and outcome["network"] is None:
        return "reading, scoring and the 5-gram model alone take longer"
    if late:
        return "the machine was slower than measured before"
    if early and outcome["network"] is not None:
        return WHY_EARLY.get(outcome.get("ended_by", ""), "")

    return ""


def _planned_in_words(outcome: Mapping[str, Any]) -> str:
    network = outcome["network"]
    if network is None:
        return "Planned was a Kneser–Ney 5-gram model alone."
    return (
        f"Planned were a Kneser–Ney 5-gram model, an LSTM of {network['hidden']} cells with "
        f"about {duration(network['seconds'])} of training (about {network['passes']:.2g} passes), and their mixture."
    )


def _passes_in_words(outcome: Mapping[str, Any]) -> str:
    planned = _planned_passes(outcome)
    passes = outcome["reached"].get("passes")
    if planned is None or passes is None:
        return ""

    read = f"the network read the training reviews {passes:.2g} times"
    if _too_few_passes(outcome):
        return (
            f"{read} of {planned:.2g} planned, because the machine was slower than measured before "
            "(with --rebuild plan the same command plans anew)"
        )
    best = outcome["reached"].get("best_passes")
    if best is not None and passes < FEWEST_PASSES * planned:
        return f"{read} of {planned:.2g} planned and was best after {best:.2g}, so further passes would not have helped"
    if outcome.get("ended_by") == "validation" and passes < planned:
        return f"{read} of {planned:.2g} planned, because validation did not improve any more"
    if _more_passes(outcome):
        return f"{read}, more than the {planned:.2g} planned: training was faster than in the trial before it"

    return f"{read} ({planned:.2g} planned)"


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
