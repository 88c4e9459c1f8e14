"""An option out of its range, or without effect beside the others, is refused in one sentence that begins with it."""

from __future__ import annotations

from typing import Any

import pytest

from reviewlm.models.specs import (
    NeuralCacheSpec,
    NGramSpec,
    ObjectiveSpec,
    RecurrentSpec,
    TrainingSpec,
    VocabularySpec,
)


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        (RecurrentSpec, {"hidden": 0}, "hidden is 0; .*at least 1 and at most 65,536"),
        (RecurrentSpec, {"hidden": 10**5000}, "hidden is far too large"),
        (RecurrentSpec, {"cells": "old"}, "cells is 'old'; .*one of fused, reference"),
        (RecurrentSpec, {"hiden": 3}, "RecurrentSpec has no option 'hiden'"),
        (RecurrentSpec, {"training": {"batch": 0}}, "training.batch is 0"),
        (TrainingSpec, {"batch": True}, "batch is True"),
        (TrainingSpec, {"clip": -1}, "clip is -1; .*or 'none' to do without"),
        (TrainingSpec, {"ema": float("nan")}, "ema is nan; .*a finite number"),
        (NGramSpec, {"order": 9}, "order is 9; .*at least 1 and at most 6"),
        (NGramSpec, {"prune": (0, -1)}, "prune has -1"),
        (NeuralCacheSpec, {"thetas": ()}, "thetas is \\(\\)"),
        (VocabularySpec, {"size": 3}, "size is 3; .*at least 16"),
    ],
)
def test_an_error_says_which_values_are_allowed(
    spec: Any,
    options: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(ValueError, match=f"^{said}[^\n]*$"):
        spec(**options)


WITHOUT_EFFECT = [
    (TrainingSpec, {}, "momentum", 0.5, "optimizer"),
    (TrainingSpec, {"optimizer": "rmsprop"}, "beta2", 0.95, "optimizer"),
    (TrainingSpec, {"schedule": "constant"}, "final_rate", 0.5, "schedule"),
    (TrainingSpec, {"stateful": False}, "state_reset_prob", 0.1, "stateful"),
    (ObjectiveSpec, {"output": "softmax"}, "head", 500, "output"),
    (ObjectiveSpec, {"output": "softmax"}, "samples", 64, "estimator"),
]


@pytest.mark.parametrize(("spec", "chosen", "name", "value", "needed"), WITHOUT_EFFECT)
def test_an_option_without_effect_is_refused_with_what_it_needs(
    spec: Any,
    chosen: dict[str, Any],
    name: str,
    value: object,
    needed: str,
) -> None:
    with pytest.raises(ValueError, match=f"^{name} is .*only takes effect with {needed}"):
        spec(**chosen, **{name: value})


@pytest.mark.parametrize(("spec", "chosen", "name"), [row[:3] for row in WITHOUT_EFFECT])
def test_an_option_that_nobody_gave_keeps_its_default(
    spec: Any,
    chosen: dict[str, Any],
    name: str,
) -> None:
    assert getattr(spec(**chosen), name) == getattr(spec(), name)
