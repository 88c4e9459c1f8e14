"""Hints about too little or too much training, on constructed learning curves: each rule, and silence elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import pytest

from evaluation.statistics.training_hints import Training, training_hints

REVIEWS = 1_200


def curve(validation: Sequence[float], train: Sequence[float] = ()) -> list[dict[str, float]]:
    """Return a journal with perplexities at evenly spaced steps; the last step is 6,000."""
    lines = []
    for name, values in (("validation/nats", validation), ("train/nats", train)):
        lines += [{"step": 6_000 * (i + 1) / len(values), name: log(value)} for i, value in enumerate(values)]
    return lines


def row(model: str = "lstm", bits: float = 2.0, gain: tuple[float, float, float] | None = None, **other: Any) -> Any:
    middle, low, high = gain or (None, None, None)
    return {"model": model, "adaptation": "static", "open_bits_per_byte": bits, "baseline": "kn5", "gain": middle,
            "gain_lo": low, "gain_hi": high, **other}  # fmt: skip


WORSE, SAME, BETTER = (-0.144, -0.198, -0.091), (-0.01, -0.03, 0.01), (0.199, 0.18, 0.21)


def hints(lines: list[dict[str, float]], gain: Any, passes: float = 2.0, **other: Any) -> str:
    return " ".join(training_hints([Training("lstm", passes, lines)], [row(gain=gain, **other)], REVIEWS))


def test_a_curve_that_still_falls_is_of_an_under_trained_model_and_the_distance_to_the_baseline_is_told() -> None:
    # Evaluations at 1/3, 2/3 and 3/3: from 250 to 200 in the last third are −20 %.
    said = hints(curve([400, 250, 200], [500, 300, 210]), WORSE)
    assert said == (
        "lstm is under-trained: in the last third of 2 passes over 1,200 reviews its validation perplexity still fell "
        "by 20%, to 200. More passes (--set models.lstm.training.epochs=4) or more reviews would help. "
        "lstm needs 14.4% more bits per byte than kn5 (9.1% to 19.8%)."
    )


def test_a_falling_curve_far_above_that_of_the_training_reviews_asks_for_reviews() -> None:
    said = hints(curve([400, 250, 200], [400, 200, 100]), WORSE)
    assert "More reviews would help more than more passes" in said
    assert "(perplexity 100)" in said


def test_a_curve_that_rises_after_its_best_is_of_an_over_trained_model_even_above_the_baseline() -> None:
    said = hints(curve([300, 200, 210, 240], [300, 150, 100, 60]), BETTER, passes=4)
    assert said == (
        "lstm is over-trained: its validation perplexity was best after 2 of 4 passes (200) and rose to 240, while "
        "that of the training reviews went on falling. The best weights were kept. Fewer passes (--set "
        "models.lstm.training.epochs=2), more dropout or more reviews would help. "
        "lstm needs 19.9% fewer bits per byte than kn5 (18.0% to 21.0%)."
    )


def test_a_flat_curve_far_above_that_of_the_training_reviews_is_of_too_few_reviews() -> None:
    said = hints(curve([400, 202, 200], [300, 150, 80]), SAME)
    assert said.startswith("lstm has too few reviews: after 2 passes over 1,200 reviews its perplexity is 80 on the")
    assert "more passes would not" in said
    assert said.endswith("The difference between lstm and kn5 may be chance.")


def test_a_flat_curve_beside_that_of_the_training_reviews_is_of_a_small_network() -> None:
    said = hints(curve([230, 201, 200], [230, 205, 199]), WORSE)
    assert said.startswith("lstm is probably too small, or its learning rate does not fit: ")
    assert "models.lstm.hidden" in said


FALLING = curve([400, 250, 200], [500, 300, 210])


@pytest.mark.parametrize(
    ("lines", "gain"),
    [
        pytest.param(curve([400, 200], [500, 210]), WORSE, id="two evaluations"),
        pytest.param([], WORSE, id="no curve"),
        pytest.param(curve([400, float("inf"), 200]), WORSE, id="an infinite loss"),
        pytest.param(FALLING, BETTER, id="surely better than the baseline"),
        pytest.param(FALLING, None, id="no interval"),
        pytest.param(curve([400, 208, 200], [400, 210, 190]), WORSE, id="a fall of 4 percent"),
        pytest.param(curve([400, 199, 200], [400, 200, 100]), BETTER, id="a rise of half a percent"),
        pytest.param(curve([300, 200, 240], [300, 150, 160]), WORSE, id="a rise of both losses: unstable"),
        pytest.param(curve([300, 200, 240]), WORSE, id="a rise without a training loss"),
        pytest.param(curve([230, 201, 200], [230, 205, 199]), SAME, id="flat, and perhaps as good as the baseline"),
        pytest.param(curve([230, 201, 200]), WORSE, id="flat, without a training loss"),
    ],
)
def test_thin_evidence_gives_no_hint(lines: list[dict[str, float]], gain: Any) -> None:
    assert hints(lines, gain) == ""


def test_the_best_static_neural_model_alone_is_judged() -> None:
    trainings = [Training(name, 2.0, FALLING) for name in ("rnn", "lstm", "lstm+cache")]
    rows: list[Mapping[str, Any]] = [
        row("kn5", 1.0, WORSE), row("lstm+cache", 1.5, WORSE, adaptation="continuous cache"),
        row("lstm", 2.0, WORSE), row("rnn", 3.0, WORSE),
    ]  # fmt: skip
    said = " ".join(training_hints(trainings, rows, REVIEWS))
    assert said.startswith("lstm is under-trained")
    assert "rnn" not in said
    infinite = [{**one, "open_bits_per_byte": float("inf")} for one in rows]
    assert training_hints(trainings, infinite, REVIEWS) == []


def test_of_two_lines_of_one_step_the_later_one_counts_because_a_resumed_fit_wrote_it() -> None:
    assert hints([*curve([400, 250, 100], [500, 300, 210]), *FALLING], WORSE) == hints(FALLING, WORSE)
