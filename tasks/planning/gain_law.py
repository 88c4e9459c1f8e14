"""Predict the bits per byte of a planned training by a law fitted to measured runs, relative to an n-gram model.

The n-gram model, with all its n-grams, is fitted before the plan is made, so its bits per byte say how hard the user's
reviews are. Measured runs say how many per cent fewer bits the mixture of n-gram model and network needs, by reference
seconds of training and bytes of training text: gain = a + b·ln(seconds) + c·ln(bytes), fitted by least squares.
`measured.json` has the runs, the law and half the width of its interval, from runs of a text that the law was not
fitted to. Outside the measured times the interval is wider: by its own width for each factor of e.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Expectation:
    """Expected bits per byte (open) of the validation reviews, with an interval.

    Args:
        held: Number of measured runs for which such an interval held, when the law was fitted to the other texts.
        of: Number of measured runs.
    """

    bits: float
    low: float
    high: float
    held: int
    of: int

    def holds(self, bits: float) -> bool:
        """Return whether a result is inside the interval."""
        return self.low <= bits <= self.high

    def in_words(self) -> str:
        """Return the expectation as people read it; without an interval if the result is already measured."""
        if self.low == self.high:
            return f"{self.bits:.3f} bits/byte: measured, because the n-gram model is the only one"
        return (
            f"{self.bits:.3f} bits/byte, {self.low:.3f} to {self.high:.3f} (such a range held for {self.held} of "
            f"{self.of} measured runs)"
        )


@cache
def measured_json() -> dict[str, Any]:
    """Return the content of `measured.json`."""
    return json.loads(MEASURED.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def terms(cost: float, train_bytes: float) -> tuple[float, float, float]:
    """Return the terms of the law that its coefficients multiply, for a training of *cost* reference seconds."""
    return 1.0, math.log(max(cost, 1.0) / 300), math.log(max(train_bytes, 1.0) / 1e7)


def gain(cost: float, train_bytes: float) -> float:
    """Return the expected share of the n-gram model's bits that the mixture saves, not below 0."""
    law = measured_json()["law"]["coefficients"]
    return max(0.0, sum(a * x for a, x in zip(law, terms(cost, train_bytes), strict=True)))


def expect(
    cost: float,
    train_bytes: float,
    baseline_bits: float,
) -> Expectation:
    """Return the expected bits per byte of the best model of a run.

    Args:
        cost: Reference seconds of the network's training; 0 if there is only the n-gram model.
        train_bytes: Bytes of the training reviews.
    """
    law = measured_json()["law"]
    shortest, longest = law["seconds"]
    beyond = max(0.0, math.log(max(cost, 1.0) / longest), math.log(shortest / max(cost, 1.0)))
    if cost:
        middle = gain(cost, train_bytes)
        half = law["half_width"] * (1 + beyond)
    else:
        middle = 0.0
        half = 0.0

    ends = (baseline_bits * (1 - middle - half), baseline_bits * (1 - middle + half))
    return Expectation(baseline_bits * (1 - middle), *ends, law["held"], law["of"])
