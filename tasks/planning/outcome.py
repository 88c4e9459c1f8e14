"""Compare the plan of a run with what the run reached."""

from __future__ import annotations

from collections.abc import Mapping
from time import time
from typing import Any

from core.config.run_config import RunConfig
from models.base import STATIC
from tasks.evaluation.compare import Evaluated
from tasks.planning.plan import RunPlan
from tasks.stage import started
from tasks.track import tracker_of

OFF = 0.25
"""Share of the planned passes by which a training may be shorter or longer without a word."""


def log_settings(config: RunConfig, run_id: str) -> None:
    """Log the configuration with all chosen settings, in the place of that of the run's start."""
    tracker_of(config).log_text(run_id, config.model_dump_json(indent=2), "config.json")


def outcome(made: RunPlan, evaluated: Evaluated) -> dict[str, Any]:
    """Return the plan with what was reached: open bits per byte of the best model, minutes taken."""
    static = [model for model in evaluated.models if model.test.facts["adaptation"] == STATIC]
    bits = min(float(model.validation.facts["open_bits_per_byte"]) for model in static)
    reached = {
        "bits": bits, "inside": made.expected.holds(bits), "minutes": round((time() - started().timestamp()) / 60, 2),
    }
    if trained := [model.fitted.spec.training for model in static if hasattr(model.fitted.spec, "training")]:
        reached["passes"] = trained[0].epochs  # as trained: the clock has the last word
    return {**made.to_dict(), "reached": reached}


def _passes(planned_run: Mapping[str, Any]) -> dict[str, str]:
    """Return the passes of the training, if the clock let it make clearly more or fewer than planned."""
    planned, made = (planned_run.get("network") or {}).get("passes"), planned_run["reached"].get("passes")
    if not planned or not made or abs(made - planned) < OFF * planned:
        return {}
    speed = "slower" if made < planned else "faster"
    return {"passes": f"{made:.2g} instead of {planned:.2g}: the machine was {speed}"}


def in_words(planned_run: Mapping[str, Any]) -> dict[str, str]:
    """Return the result of `outcome` as facts for people."""
    expected, reached = planned_run["expected"], planned_run["reached"]
    place = "inside the interval" if reached["inside"] else "outside the interval"
    given = {"time given": f"{planned_run['minutes']:g} min"} | _passes(planned_run)
    if expected["low"] == expected["high"]:  # only the n-gram model, whose figure was measured and not expected
        return given | {"reached on validation": f"{reached['bits']:.3f} open bits/byte"}
    interval = f"{expected['low']:.3f} to {expected['high']:.3f}"
    return given | {
        "expected on validation": f"{expected['bits']:.3f} open bits/byte ({interval})",
        "reached": f"{reached['bits']:.3f} open bits/byte, {place}",
    }
