"""Drift: new reviews against the ones a champion knows, with an error rate that is what it says."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon

from core.config.sections.data import DriftConfig
from core.errors import EmptyInput
from evaluation.drift.features import jensen_shannon, population_stability
from evaluation.drift.report import DriftReport, compare, flagged_sentence

WORDS = [f"word{n}" for n in range(400)]
ZIPF = 1 / np.arange(1, 401)


def reviews(seed: int, count: int = 300, **changes: object) -> pl.DataFrame:
    """Reviews of one source, unless a change is asked for; words of a review belong together (a topic each)."""
    generator = np.random.default_rng(seed)
    stars = generator.choice(6, count, p=changes.get("stars", [0.0, 0.1, 0.1, 0.15, 0.3, 0.35]))
    lengths = generator.poisson(changes.get("length", 60), count) + 1
    texts = []
    for length in lengths:
        topic = generator.permutation(400) if generator.random() < changes.get("foreign", 0.0) else np.arange(400)
        weights = ZIPF[topic] * generator.gamma(1.0, 1.0, 400)
        texts.append(" ".join(generator.choice(WORDS, length, p=weights / weights.sum())))
    tokens = lengths + 1
    kinds = changes.get("kinds", [0.4, 0.4, 0.2])
    return pl.DataFrame({
        "text": texts, "stars": stars.astype(np.int8), "words": lengths, "tokens": tokens, "bytes": lengths * 8 + 1,
        "oov": generator.binomial(tokens, changes.get("unknown", 0.02)),
        "nats": tokens * generator.normal(changes.get("cost", 4.0), 0.4, count),
        "spelling_nats": tokens * changes.get("spelt", 0.2),
        "categories": generator.choice(["Pizza, Bars", "Bars", "Sushi"], count, p=kinds),
    })


def judged(**changes: object) -> DriftReport:
    return compare(reviews(1), reviews(2), reviews(3, **changes), DriftConfig())


@pytest.mark.parametrize(("changes", "expected"), [
    ({"stars": [0, 0.4, 0.2, 0.1, 0.15, 0.15]}, "stars"),
    ({"length": 90}, "length"),
    ({"foreign": 0.5}, "words"),
    ({"kinds": [0.1, 0.2, 0.7]}, "categories"),
    ({"unknown": 0.06}, "coverage"),
    ({"cost": 4.6}, "surprisal"),
    ({"spelt": 0.8}, "surprisal"),
])
def test_a_planted_shift_is_flagged_by_the_figure_that_is_about_it(changes: dict, expected: str) -> None:
    assert expected in judged(**changes).drifted


def test_reviews_of_the_same_source_are_not_flagged() -> None:
    report = judged()
    assert report.drifted == ()
    assert "no drift" in flagged_sentence(report)


@pytest.mark.long
def test_the_false_alarm_rate_is_at_most_the_nominal_one_and_a_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without limits, chance alone decides: 10 % nominal over all six figures, 120 batches of the same source."""
    monkeypatch.setattr(DriftConfig, "js_categories", 0.0)
    config = DriftConfig(false_alarm=0.1, psi=0, js_words=0, coverage=0, surprisal=0)
    pool = reviews(11, 2_000)
    alarms = 0
    for seed in range(120):
        drawn = pool.sample(600, seed=seed, shuffle=True)
        alarms += bool(compare(drawn[:200], drawn[200:400], drawn[400:], config, seed).drifted)
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


@pytest.mark.slow
def test_equal_seeds_give_equal_reports() -> None:
    assert judged().to_json() == judged().to_json()


def test_the_words_that_moved_most_are_named() -> None:
    known, held_out, batch = reviews(1), reviews(2), reviews(3)
    batch = batch.with_columns(text=pl.col("text") + " covid covid mask")
    report = compare(known, held_out, batch, DriftConfig())
    assert {row["word"] for row in report.moved[:2]} == {"covid", "mask"}
    assert report.moved[0]["known"] == 0


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


def test_population_stability_is_symmetric_and_known_for_two_classes() -> None:
    p, q = np.array([999.5, 2999.5]), np.array([1999.5, 1999.5])
    closed_form = 0.25 * np.log(0.5 / 0.25) - 0.25 * np.log(0.5 / 0.75)
    assert population_stability(p, q) == pytest.approx(closed_form, abs=1e-12)
    assert population_stability(q, p) == pytest.approx(closed_form, abs=1e-12)
