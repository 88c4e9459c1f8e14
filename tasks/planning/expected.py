"""Predict the bits per byte of a planned training by a law fitted to measured runs, relative to an n-gram model.

The n-gram model, with all its n-grams, is fitted before the plan is made, so its bits per byte say how hard the user's
reviews are. Measured runs say how many per cent fewer bits the mixture of n-gram model and network needs, by reference
seconds of training and bytes of training text: gain = a + b·ln(seconds) + c·ln(bytes), fitted by least squares.
`measured.json` has the runs, the law and half the width of its interval, from runs of a text that the law was not
fitted to. Beyond the measured times the interval becomes wider, by its own width for each factor of e.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).with_name("measured.json")
MOST_GAIN = 0.35
"""The law is not trusted beyond this gain, which the longest measured training reached."""


@dataclass(frozen=True)
class Expectation:
    """Expected bits per byte (open) of the validation reviews, with an interval.

    Args:
        bits: Middle of the interval.
        low: Lower end.
        high: Upper end.
        coverage: Share of the measured runs for which such an interval held, e.g. 0.8.
    """

    bits: float
    low: float
    high: float
    coverage: float

    def holds(self, bits: float) -> bool:
        """Return whether a result is inside the interval."""
        return self.low <= bits <= self.high

    def in_words(self) -> str:
        """Return the expectation as people read it; without an interval if the result is already measured."""
        if self.low == self.high:
            return f"{self.bits:.3f} open bits/byte: measured, because the n-gram model is the only one"
        return f"{self.bits:.3f} open bits/byte, {self.low:.3f} to {self.high:.3f} in {self.coverage:.0%} of runs"


@cache
def measured() -> dict[str, Any]:
    """Return the content of `measured.json`."""
    return json.loads(MEASURED.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def terms(cost: float, train_bytes: float) -> tuple[float, float, float]:
    """Return what the coefficients of the law are multiplied with, for a training of *cost* reference seconds."""
    return 1.0, math.log(max(cost, 1.0) / 300), math.log(max(train_bytes, 1.0) / 1e7)


def gain(cost: float, train_bytes: float) -> float:
    """Return the expected share of the n-gram model's bits that the mixture saves, from 0 to `MOST_GAIN`."""
    law = measured()["law"]["coefficients"]
    return min(MOST_GAIN, max(0.0, sum(a * x for a, x in zip(law, terms(cost, train_bytes), strict=True))))


def expect(cost: float, train_bytes: float, baseline_bits: float) -> Expectation:
    """Return the expected bits per byte of the best model of a run.

    Args:
        cost: Reference seconds of the network's training; 0 if there is only the n-gram model.
        train_bytes: Bytes of the training reviews.
        baseline_bits: The n-gram model's open bits per byte of the validation reviews.
    """
    law = measured()["law"]
    shortest, longest = law["seconds"]
    beyond = max(0.0, math.log(max(cost, 1.0) / longest), math.log(shortest / max(cost, 1.0)))
    middle, half = (gain(cost, train_bytes), law["half_width"] * (1 + beyond)) if cost else (0.0, 0.0)
    ends = (baseline_bits * (1 - middle - half), baseline_bits * (1 - middle + half))
    return Expectation(baseline_bits * (1 - middle), *ends, law["coverage"])
