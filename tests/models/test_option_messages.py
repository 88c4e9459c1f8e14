"""An option out of its range is refused in one sentence: its name, its value, and what is allowed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from models.specs import NeuralCacheSpec, NGramSpec, RecurrentSpec, TrainingSpec, VocabularySpec


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        (RecurrentSpec, {"hidden": 0}, "hidden is 0; it must be at least 1 and at most 65,536"),
        (RecurrentSpec, {"hidden": 10**5000}, "hidden is far too large; it must be a whole number"),
        (RecurrentSpec, {"hidden": 1.5}, "hidden is 1.5; it must be a whole number"),
        (RecurrentSpec, {"cells": "old"}, "cells is 'old'; it must be one of fused, reference"),
        (RecurrentSpec, {"hiden": 3}, "RecurrentSpec has no option 'hiden' in this version"),
        (RecurrentSpec, {"training": 3}, "training is 3; it must be a section of options"),
        (RecurrentSpec, {"training": {"batch": 0}},
         "training.batch is 0; it must be at least 1 and at most 1,000,000"),
        (TrainingSpec, {"batch": True}, "batch is True; it must be a number"),
        (TrainingSpec, {"clip": -1},
         "clip is -1; it must be above 0 and finite (at most 3e+38), or 'none' to do without"),
        (TrainingSpec, {"clip": "off"}, "clip is 'off'; it must be a number, or 'none' to do without"),
        (TrainingSpec, {"ema": float("nan")}, "ema is nan; it must be a finite number"),
        (NGramSpec, {"order": 9}, "order is 9; it must be between 1 and 6"),
        (NGramSpec, {"prune": (0, -1)},
         "prune has -1; it must be whole numbers in a row, each 0 or more and at most 2,147,483,647"),
        (NeuralCacheSpec, {"thetas": ()}, "thetas is (); it must be one or more numbers in a row"),
        (NeuralCacheSpec, {"thetas": (0.1, 0.1)}, "thetas is (0.1, 0.1); it must be different numbers"),
        (VocabularySpec, {"size": 3}, "size is 3; it must be at least 16 and at most 10,000,000"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_what_is_allowed(spec: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        spec(**options)
