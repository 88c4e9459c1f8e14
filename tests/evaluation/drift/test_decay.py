"""How a model ages: months against the time it was made at, with intervals of differences between other reviews."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from core.errors import EmptyInput
from evaluation.drift.decay import HELD_OUT, NEW, Decay, measure_decay
from evaluation.drift.figures import decay_curve

LN2 = math.log(2)
BYTES = 100


def month(name: str, part: str, reviews: int, bits: float, spread: float, seed: int) -> pl.DataFrame:
    """Reviews of 100 bytes whose bits per byte are normal around a mean; a tenth of them is spelling."""
    nats = np.random.default_rng(seed).normal(bits, spread, reviews) * BYTES * LN2
    return pl.DataFrame({
        "month": [name] * reviews, "part": [part] * reviews, "nats": 0.9 * nats, "spelling_nats": 0.1 * nats,
        "bytes": [BYTES] * reviews, "tokens": [20] * reviews,
    })


def decay_of(*months: pl.DataFrame, fewest: int = 50, resamples: int = 400, confidence: float = 0.95) -> Decay:
    return measure_decay(pl.concat(months), fewest=fewest, confidence=confidence, resamples=resamples, seed=3)


def test_the_reference_is_the_last_held_out_months_that_have_enough_reviews_together():
    months = [month(f"2024-0{number}", HELD_OUT, 30, 2.0 + number, 0.0, 1) for number in (1, 2, 3)]
    found = decay_of(*months, fewest=50)
    assert (found.since, found.until) == ("2024-02", "2024-03")
    assert found.reference == pytest.approx(4.5)
    assert decay_of(*months, fewest=1000).since == "2024-01"
    assert found.worse is None
    assert "no month after 2024-03" in found.sentence


def test_a_month_that_is_worse_beyond_chance_is_told_and_one_like_the_reference_is_not():
    made = month("2024-01", HELD_OUT, 200, 2.0, 0.3, 1)
    same = month("2024-02", NEW, 200, 2.0, 0.3, 2)
    found = decay_of(made, same, month("2024-03", NEW, 200, 2.2, 0.3, 3))
    assert found.worse is True
    assert found.month == "2024-03"
    assert found.change == pytest.approx(0.2, abs=0.08)
    assert found.sentence.startswith("2024-03 is significantly worse than")
    assert decay_of(made, same).worse is False
    assert decay_of(made, month("2024-02", NEW, 200, 1.7, 0.3, 2)).worse is False  # better is not worse


def test_a_month_of_few_reviews_is_shown_but_not_judged_by():
    made, full = month("2024-01", HELD_OUT, 200, 2.0, 0.3, 1), month("2024-02", NEW, 200, 2.0, 0.3, 2)
    found = decay_of(made, full, month("2024-03", NEW, 10, 9.0, 0.3, 3))
    assert found.month == "2024-02"
    rows = {(row["month"], row["part"]): row for row in found.table.to_dicts()}
    assert rows["2024-03", NEW]["judged"] is False
    assert rows["2024-03", NEW]["open_bits_per_byte"] == pytest.approx(9.0, abs=0.3)


def test_the_interval_of_a_change_is_that_of_two_independent_means():
    """Equal bytes make the ratio a mean; the standard error of a difference of means is √(s₁²/n₁ + s₂²/n₂)."""
    one, two = month("2024-01", HELD_OUT, 400, 2.0, 0.5, 1), month("2024-02", NEW, 300, 2.0, 0.2, 2)
    found = decay_of(one, two, resamples=4000)
    spread = [((rows["nats"] + rows["spelling_nats"]) / rows["bytes"] / LN2).std() for rows in (one, two)]
    error = math.sqrt(spread[0] ** 2 / 400 + spread[1] ** 2 / 300)
    assert (found.change_high - found.change_low) / 2 == pytest.approx(1.96 * error, rel=0.05)


@pytest.mark.slow
def test_equal_months_raise_a_false_alarm_as_rarely_as_the_confidence_says():
    alarms = 0
    for seed in range(200):
        made = month("2024-01", HELD_OUT, 80, 2.0, 0.4, 2 * seed)
        new = month("2024-02", NEW, 80, 2.0, 0.4, 2 * seed + 1)
        alarms += bool(decay_of(made, new, resamples=150).worse)
    assert alarms <= 12  # 5 of 200 are expected; more than 12 has a probability of 0.2 %


def test_a_month_that_the_model_calls_impossible_is_worse():
    new = month("2024-02", NEW, 60, 2.0, 0.1, 2).with_columns(
        nats=pl.when(pl.int_range(60) == 5).then(math.inf).otherwise("nats")
    )
    found = decay_of(month("2024-01", HELD_OUT, 60, 2.0, 0.1, 1), new)
    assert (found.change, found.worse) == (math.inf, True)


def test_without_held_out_reviews_there_is_nothing_to_compare_with():
    with pytest.raises(EmptyInput, match="No held-out review"):
        decay_of(month("2024-02", NEW, 60, 2.0, 0.1, 2))


def test_the_curve_shows_every_version_and_part_and_the_verdict():
    champion = decay_of(month("2024-01", HELD_OUT, 80, 2.0, 0.1, 1), month("2024-03", NEW, 80, 2.1, 0.1, 2))
    former = decay_of(month("2024-01", HELD_OUT, 80, 2.3, 0.1, 3), month("2024-02", NEW, 80, 2.4, 0.1, 4))
    [axes] = decay_curve({"v2": champion, "v1": former}).axes
    assert axes.get_title(loc="left") == f"v2: {champion.sentence}"
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert {"v2, held out", "v2, new", "v1, held out", "v1, new"} < set(named)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2024-01", "2024-02", "2024-03"]
