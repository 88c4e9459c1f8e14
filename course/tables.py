"""Build tables of gradient norms and of the toy tasks, as rows for the terminal, for CSV and for tracking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from course.gradient_flow import GradientFlow
    from course.toy_training import Learned

SHOWN = (5, 20, 50, 100, 200)
"""Distances that the table of gradients shows."""


def gradient_table(flows: Mapping[str, GradientFlow]) -> list[dict[str, Any]]:
    """Return one row per network: half-length, slope, reach, and the mean norm at some distances (distance 1 = 1)."""
    rows = []
    for name, flow in flows.items():
        decay, unit = flow.decay(), float(flow.mean_D[0]) or 1.0
        at = {f"at {ell}": float(flow.mean_D[ell - 1]) / unit for ell in SHOWN if ell <= len(flow.mean_D)}
        row = {"network": name, "half-length": decay.half_length, "slope": decay.slope, "1 % at": flow.reach()}
        rows.append({**row, "norm at 1": float(flow.mean_D[0]), **at})
    return rows


def learning_table(learned: Mapping[str, Learned]) -> list[dict[str, Any]]:
    """Return one row per network that was trained on a task."""
    return [
        {
            "network": name, "exact": one.final.exact, "answers": one.final.answers, "nats": one.final.nats,
            "updates": one.updates, "CPU s": one.seconds,
        }
        for name, one in learned.items()
    ]  # fmt: skip
