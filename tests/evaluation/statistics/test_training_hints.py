"""Hints about too little or too much training, on constructed learning curves: each rule, and silence elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import pytest

from reviewlm.evaluation.statistics.training_advice import (
    Training,
    passes_until_best,
    training_hints,
)


def curve(validation: Sequence[float]) -> list[dict[str, float]]:
    """Return a journal with perplexities at evenly spaced steps; the last step is 6,000."""
    return [
        {"step": 6_000 * (i + 1) / len(validation), "validation/nats": log(v)}
        for i, v in enumerate(validation)
    ]


def row(
    model: str = "lstm",
    bits: float = 2.0,
    low: float | None = None,
    **other: Any,
) -> Any:
    return {
        "model": model,
        "adaptation": "static",
        "open_bits_per_byte": bits,
        "baseline": "kn5",
        "baseline_gain_lo": low,
        **other,
    }


NOT_BETTER, BETTER = -0.01, 0.18
FALLING = curve([400, 250, 200])


RISING = curve([300, 200, 210, 240])


def hints(
    lines: list[dict[str, float]],
    low: float | None,
    paced: bool = False,
) -> str:
    return " ".join(training_hints([Training("lstm", 2.0, lines, paced)], [row(low=low)]))


def test_a_curve_that_still_falls_is_of_an_under_trained_model() -> None:
    """Evaluations at 1/3, 2/3 and 3/3: from 250 to 200 in the last third are −20 %."""
    told = hints(FALLING, NOT_BETTER)
    assert "under-trained" in told
    assert "20%" in told
    assert "models.lstm.training.epochs=4" in told


def test_a_curve_that_rises_after_its_best_is_of_an_over_trained_model_even_above_the_baseline() -> (
    None
):
    told = hints(RISING, BETTER)
    assert "over-trained" in told
    assert "models.lstm.training.epochs=1)" in told


@pytest.mark.parametrize(
    ("lines", "low", "kind"),
    [(RISING, BETTER, "over-trained"), (FALLING, NOT_BETTER, "under-trained")],
)
def test_of_a_training_whose_length_the_time_has_chosen_no_hint_asks_for_passes(
    lines: list[dict[str, float]],
    low: float,
    kind: str,
) -> None:
    told = hints(lines, low, paced=True)
    assert kind in told
    assert "more time" in told.lower()
    assert "epochs" not in told


@pytest.mark.parametrize(
    ("lines", "passes"),
    [(RISING, 1.0), (FALLING, None), (curve([400, 199, 200]), None), ([], None)],
)
def test_only_an_over_trained_model_was_best_before_its_last_pass(
    lines: list[dict[str, float]], passes: float | None
) -> None:
    assert passes_until_best(Training("lstm", 2.0, lines)) == passes


@pytest.mark.parametrize(
    ("lines", "low"),
    [
        pytest.param(curve([400, 200]), NOT_BETTER, id="two evaluations"),
        pytest.param([], NOT_BETTER, id="no curve"),
        pytest.param(curve([400, float("inf"), 200]), NOT_BETTER, id="an infinite loss"),
        pytest.param(FALLING, BETTER, id="surely better than the baseline"),
        pytest.param(FALLING, None, id="no interval"),
        pytest.param(curve([400, 208, 200]), NOT_BETTER, id="a fall of 4 percent"),
        pytest.param(curve([400, 199, 200]), BETTER, id="a rise of half a percent"),
    ],
)
def test_thin_evidence_gives_no_hint(lines: list[dict[str, float]], low: float | None) -> None:
    assert hints(lines, low) == ""
