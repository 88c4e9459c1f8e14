"""Drift: new reviews against the ones a champion knows, with an error rate that is what it says."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon

from reviewlm.core.config.sections.data import DriftConfig
from reviewlm.core.errors import EmptyInput
from reviewlm.evaluation.drift.decay import HELD_OUT, NEW, Decay, measure_decay
from reviewlm.evaluation.drift.figures import decay_curve
from reviewlm.evaluation.drift.report import (
    DriftReport,
    compare,
    flagged_sentence,
    jensen_shannon,
    population_stability,
)

WORDS = [f"word{n}" for n in range(400)]
ZIPF = 1 / np.arange(1, 401)


def reviews(seed: int, count: int = 300, **changes: object) -> pl.DataFrame:
    """Reviews of one source, unless a change is asked for; words of a review belong together (a topic each)."""
    generator = np.random.default_rng(seed)
    stars = generator.choice(6, count, p=changes.get("stars", [0.0, 0.1, 0.1, 0.15, 0.3, 0.35]))
    lengths = generator.poisson(changes.get("length", 60), count) + 1
    texts = []
    for length in lengths:
        topic = (
            generator.permutation(400)
            if generator.random() < changes.get("foreign", 0.0)
            else np.arange(400)
        )
        weights = ZIPF[topic] * generator.gamma(1.0, 1.0, 400)
        texts.append(" ".join(generator.choice(WORDS, length, p=weights / weights.sum())))
    tokens = lengths + 1
    kinds = changes.get("kinds", [0.4, 0.4, 0.2])
    return pl.DataFrame(
        {
            "text": texts,
            "stars": stars.astype(np.int8),
            "words": lengths,
            "tokens": tokens,
            "bytes": lengths * 8 + 1,
            "oov": generator.binomial(tokens, changes.get("unknown", 0.02)),
            "nats": tokens * generator.normal(changes.get("cost", 4.0), 0.4, count),
            "spelling_nats": tokens * changes.get("spelt", 0.2),
            "categories": generator.choice(["Pizza, Bars", "Bars", "Sushi"], count, p=kinds),
        }
    )


def judged(**changes: object) -> DriftReport:
    return compare(reviews(1), reviews(2), reviews(3, **changes), DriftConfig())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"stars": [0, 0.4, 0.2, 0.1, 0.15, 0.15]}, "stars"),
        ({"length": 90}, "length"),
        ({"foreign": 0.5}, "words"),
        ({"kinds": [0.1, 0.2, 0.7]}, "categories"),
        ({"unknown": 0.06}, "coverage"),
        ({"cost": 4.6}, "surprisal"),
        ({"spelt": 0.8}, "surprisal"),
    ],
)
def test_a_planted_shift_is_flagged_by_the_figure_that_is_about_it(
    changes: dict, expected: str
) -> None:
    assert expected in judged(**changes).drifted


def test_reviews_of_the_same_source_are_not_flagged() -> None:
    report = judged()
    assert report.drifted == ()
    assert "no drift" in flagged_sentence(report)


@pytest.mark.long
def test_the_false_alarm_rate_is_at_most_a_point_above_the_nominal_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without limits, chance alone decides: 10 % nominal over all six figures, 120 batches of the same source."""
    monkeypatch.setattr(DriftConfig, "js_categories", 0.0)
    config = DriftConfig(
        false_alarm=0.1,
        psi=0,
        js_words=0,
        coverage=0,
        surprisal=0,
    )
    pool = reviews(11, 2_000)
    alarms = 0
    for seed in range(120):
        drawn = pool.sample(600, seed=seed, shuffle=True)
        alarms += bool(
            compare(
                drawn[:200],
                drawn[200:400],
                drawn[400:],
                config,
                seed,
            ).drifted
        )
    # A rate of 11 % gives more than 20 of 120 with probability 0.02.
    assert alarms <= 20


@pytest.mark.slow
def test_a_difference_below_its_limit_is_left_alone_however_sure_it_is() -> None:
    batch, known, held_out = reviews(3, 2_000, cost=4.1), reviews(1, 2_000), reviews(2, 2_000)
    strict = compare(known, held_out, batch, DriftConfig(surprisal=0.0))
    lenient = compare(known, held_out, batch, DriftConfig(surprisal=0.2))
    assert "surprisal" in strict.drifted
    assert "surprisal" not in lenient.drifted
    assert [f.p_value for f in strict.figures] == [f.p_value for f in lenient.figures]


def test_too_few_reviews_are_refused_with_their_number() -> None:
    with pytest.raises(EmptyInput, match="too few new reviews"):
        compare(reviews(1), reviews(2), reviews(3, 20), DriftConfig())


def test_jensen_shannon_is_that_of_scipy() -> None:
    generator = np.random.default_rng(5)
    p, q = generator.integers(0, 30, (2, 7, 40))
    q[:, 3] = 0
    expected = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)]
    assert jensen_shannon(p, q) == pytest.approx(expected, abs=1e-12)
    assert jensen_shannon(np.array([3, 0]), np.array([0, 5])) == pytest.approx(1.0)


TWO_CLASSES = np.array([999.5, 2999.5]), np.array([1999.5, 1999.5])


def test_population_stability_is_known_for_two_classes() -> None:
    closed_form = 0.25 * np.log(0.5 / 0.25) - 0.25 * np.log(0.5 / 0.75)
    assert population_stability(*TWO_CLASSES) == pytest.approx(closed_form, abs=1e-12)


def test_population_stability_is_symmetric() -> None:
    p, q = TWO_CLASSES
    expected = population_stability(p, q)
    assert population_stability(q, p) == pytest.approx(expected, abs=1e-12)


# --- How a model ages: months against the time it was made at, with intervals of differences between other reviews

LN2 = math.log(2)
BYTES = 100


def month(
    name: str,
    part: str,
    reviews: int,
    bits: float,
    spread: float,
    seed: int,
) -> pl.DataFrame:
    """Reviews of 100 bytes whose bits per byte are normal around a mean; a tenth of them is spelling."""
    nats = np.random.default_rng(seed).normal(bits, spread, reviews) * BYTES * LN2
    return pl.DataFrame(
        {
            "month": [name] * reviews,
            "part": [part] * reviews,
            "nats": 0.9 * nats,
            "spelling_nats": 0.1 * nats,
            "bytes": [BYTES] * reviews,
            "tokens": [20] * reviews,
        }
    )


def decay_of(
    *months: pl.DataFrame,
    fewest: int = 50,
    resamples: int = 400,
    confidence: float = 0.95,
) -> Decay:
    return measure_decay(
        pl.concat(months),
        fewest=fewest,
        confidence=confidence,
        resamples=resamples,
        seed=3,
    )


def test_the_reference_is_the_last_held_out_months_that_have_enough_reviews_together():
    months = [
        month(
            f"2024-0{number}",
            HELD_OUT,
            30,
            2.0 + number,
            0.0,
            1,
        )
        for number in (1, 2, 3)
    ]
    found = decay_of(*months, fewest=50)
    assert (found.since, found.until) == ("2024-02", "2024-03")
    assert found.reference.estimate == pytest.approx(4.5)
    assert decay_of(*months, fewest=1000).since == "2024-01"
    assert found.worse is None
    assert "no month after 2024-03" in found.sentence


MADE = month(
    "2024-01",
    HELD_OUT,
    200,
    2.0,
    0.3,
    1,
)
SAME = month(
    "2024-02",
    NEW,
    200,
    2.0,
    0.3,
    2,
)


def test_a_month_that_is_worse_beyond_chance_is_told():
    found = decay_of(
        MADE,
        SAME,
        month(
            "2024-03",
            NEW,
            200,
            2.2,
            0.3,
            3,
        ),
    )

    assert found.worse is True
    assert found.month == "2024-03"
    assert found.change.estimate == pytest.approx(0.2, abs=0.08)
    assert found.sentence.startswith("2024-03 is significantly worse than")


def test_a_month_like_the_reference_is_not_worse():
    assert decay_of(MADE, SAME).worse is False


def test_a_better_month_is_not_worse():
    assert (
        decay_of(
            MADE,
            month(
                "2024-02",
                NEW,
                200,
                1.7,
                0.3,
                2,
            ),
        ).worse
        is False
    )


def test_the_interval_of_a_change_is_that_of_two_independent_means():
    """Equal bytes make the ratio a mean; the standard error of a difference of means is √(s₁²/n₁ + s₂²/n₂)."""
    one, two = (
        month(
            "2024-01",
            HELD_OUT,
            400,
            2.0,
            0.5,
            1,
        ),
        month(
            "2024-02",
            NEW,
            300,
            2.0,
            0.2,
            2,
        ),
    )
    found = decay_of(one, two, resamples=4000)
    spread = [
        ((rows["nats"] + rows["spelling_nats"]) / rows["bytes"] / LN2).std() for rows in (one, two)
    ]
    error = math.sqrt(spread[0] ** 2 / 400 + spread[1] ** 2 / 300)
    assert (found.change.high - found.change.low) / 2 == pytest.approx(1.96 * error, rel=0.05)


@pytest.mark.slow
def test_equal_months_raise_a_false_alarm_as_rarely_as_the_confidence_says():
    alarms = 0
    for seed in range(200):
        made = month(
            "2024-01",
            HELD_OUT,
            80,
            2.0,
            0.4,
            2 * seed,
        )
        new = month(
            "2024-02",
            NEW,
            80,
            2.0,
            0.4,
            2 * seed + 1,
        )
        alarms += bool(decay_of(made, new, resamples=150).worse)
    assert alarms <= 12  # 5 of 200 are expected; more than 12 has a probability of 0.2 %


def test_a_month_that_the_model_calls_impossible_is_worse():
    new = month(
        "2024-02",
        NEW,
        60,
        2.0,
        0.1,
        2,
    ).with_columns(nats=pl.when(pl.int_range(60) == 5).then(math.inf).otherwise("nats"))
    found = decay_of(
        month(
            "2024-01",
            HELD_OUT,
            60,
            2.0,
            0.1,
            1,
        ),
        new,
    )
    assert (found.change.estimate, found.worse) == (math.inf, True)


def test_without_held_out_reviews_there_is_nothing_to_compare_with():
    with pytest.raises(EmptyInput, match="No held-out review"):
        decay_of(
            month(
                "2024-02",
                NEW,
                60,
                2.0,
                0.1,
                2,
            )
        )


@pytest.fixture
def champion():
    """Measure the decay of the version in use."""
    return decay_of(
        month(
            "2024-01",
            HELD_OUT,
            80,
            2.0,
            0.1,
            1,
        ),
        month(
            "2024-03",
            NEW,
            80,
            2.1,
            0.1,
            2,
        ),
    )


@pytest.fixture
def axes(champion):
    """Draw the decay curve of a champion, with the version before it."""
    former = decay_of(
        month(
            "2024-01",
            HELD_OUT,
            80,
            2.3,
            0.1,
            3,
        ),
        month(
            "2024-02",
            NEW,
            80,
            2.4,
            0.1,
            4,
        ),
    )
    [axes] = decay_curve({"v2": champion, "v1": former}).axes
    return axes


def test_the_title_of_the_curve_is_the_verdict_on_the_champion(axes, champion):
    assert axes.get_title(loc="left") == f"v2: {champion.sentence}"


def test_the_curve_shows_every_part_of_every_version(axes):
    named = [text.get_text() for text in axes.get_legend().get_texts()]

    assert {"v2, held out", "v2, new", "v1, held out", "v1, new"} < set(named)


def test_the_curve_shows_the_months_of_all_versions(axes):
    months = [label.get_text() for label in axes.get_xticklabels()]

    assert months == ["2024-01", "2024-02", "2024-03"]
