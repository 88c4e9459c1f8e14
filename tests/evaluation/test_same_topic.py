"""How often the nearest review by another user is of the same business: known answers, chance, and the baselines."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from core.errors import InputError
from evaluation.text_vectors import (
    Cosines,
    cosines_to,
    mean_word_vectors,
    nearest_of_others,
    same_topic_rates,
    tfidf_vectors,
    unit,
    whole_businesses,
)
from training.vectors.files import keyed

REVIEWS = pl.DataFrame({
    "user_id": ["u", "v", "u", "w", None, None],
    "business_id": ["a", "a", "b", "b", "b", ""],
    "stars": [5.0, 5.0, 1.0, 4.0, 1.0, 5.0],
})  # fmt: skip
ANGLES = np.radians([0, 55, 10, 90, 95, 1])


def dense_cosines(vectors_NF: np.ndarray) -> Cosines:
    unit_NF = unit(vectors_NF)
    return lambda rows_B: cosines_to(unit_NF)(unit_NF[rows_B])


PLANE = dense_cosines(np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1))


def test_reviews_of_the_same_user_are_no_neighbours() -> None:
    user = np.array([0, 1, 0, 2, 3, 4])
    assert nearest_of_others(PLANE, np.arange(6), user).tolist() == [5, 3, 5, 4, 3, 0]


def test_rates_are_means_over_the_reviews_whose_business_another_user_has_reviewed() -> None:
    chance, found = same_topic_rates(REVIEWS, {"plane": PLANE})
    # The nearest of the first five, as above: of no, another, no, the same, the same business.
    assert (chance["queries"], found["business_id"], found["stars"]) == (5, 2 / 5, 1 / 5)
    # Of the 4 reviews by others u has 1 of a and 2 of b; v has 1 of 5, w 2 of 5, the unknown user 2 of 5.
    assert chance["business_id"] == pytest.approx(np.mean([1 / 4, 1 / 5, 2 / 4, 2 / 5, 2 / 5]))
    assert chance["stars"] == pytest.approx(np.mean([2 / 4, 2 / 5, 1 / 4, 0, 1 / 5]))
    assert found["business_id_gain"] == pytest.approx(found["business_id"] - chance["business_id"])
    assert found["business_id_lo"] <= found["business_id"] <= found["business_id_hi"]
    assert "business_id_gain" not in chance


def test_a_users_other_reviews_of_a_business_are_no_chance() -> None:
    reviews = pl.DataFrame({"user_id": ["u", "u", "v"], "business_id": ["a", "a", "a"], "stars": [5.0, 5.0, 5.0]})
    [chance] = same_topic_rates(reviews, {})
    assert (chance["queries"], chance["business_id"], chance["stars"]) == (3, 1, 1)


def test_chance_is_the_rate_of_cosines_that_know_nothing() -> None:
    draw = np.random.default_rng(1)
    count = 1_500
    reviews = pl.DataFrame({
        "user_id": draw.integers(0, 300, count).astype(str), "business_id": draw.integers(0, 12, count).astype(str),
        "stars": draw.choice([1.0, 4.0, 5.0], count, p=[0.2, 0.3, 0.5]),
    })  # fmt: skip
    chance, found = same_topic_rates(reviews, {"noise": dense_cosines(draw.normal(size=(count, 40)))})
    for what in ("business_id", "stars"):
        assert found[f"{what}_lo"] < chance[what] < found[f"{what}_hi"]


def test_without_another_users_review_of_a_business_nothing_can_be_measured() -> None:
    with pytest.raises(InputError, match="No review has stars and a business"):
        same_topic_rates(REVIEWS.with_columns(business_id=pl.lit("")), {})
    with pytest.raises(InputError, match="No review has stars and a business"):
        same_topic_rates(REVIEWS.with_columns(stars=pl.lit(None, pl.Float32)), {})


def test_the_reviews_to_compare_are_those_of_whole_businesses() -> None:
    business = pl.Series(np.random.default_rng(1).permutation(np.repeat([f"b{number}" for number in range(20)], 7)))
    draws = [whole_businesses(business, 50, seed) for seed in range(3)]
    for drawn in draws:
        assert (len(drawn), (np.diff(drawn) > 0).all()) == (50, True)
        assert sorted(business[drawn].value_counts()["count"]) == [1, 7, 7, 7, 7, 7, 7, 7]
    assert len({tuple(drawn) for drawn in draws}) == 3
    assert whole_businesses(business, 140).tolist() == list(range(140))
    assert len(whole_businesses(pl.Series(["a", None, "", "a", None]), 4)) == 4


def test_words_that_few_texts_have_weigh_more_and_repeated_words_little() -> None:
    """idf = ln((1 + 3) / (1 + df)) + 1 and tf = 1 + ln(count), rows of length 1."""
    vectors = tfidf_vectors(["cold tacos", "cold beer beer", "cold"])
    rare, common = np.log(4 / 2) + 1, 1.0
    twice = (1 + np.log(2)) * rare
    assert cosines_to(vectors(["cold tacos"]))(vectors(["tacos"])) == pytest.approx(rare / np.hypot(rare, common))
    assert cosines_to(vectors(["cold beer beer"]))(vectors(["beer"])) == pytest.approx(twice / np.hypot(twice, common))
    assert cosines_to(vectors(["cold"]))(vectors(["Cold!", "unknown"])).tolist() == [[pytest.approx(1)], [0]]


def test_word_vectors_of_a_text_are_averaged_over_the_words_that_have_one() -> None:
    vectors_of_words = keyed(["tacos", "beer"], np.array([[1.0, 0.0], [0.0, 1.0]]))
    texts = ["tacos beer beer rare", "tacos beer common", "common"]
    vectors = mean_word_vectors(texts, lambda words: vectors_of_words)(texts)
    cosines = cosines_to(vectors)(vectors)
    assert cosines[0, 1] == pytest.approx((1 * 1 + 2 * 1) / (np.sqrt(5) * np.sqrt(2)), abs=1e-6)
    assert cosines[2].tolist() == [0, 0, 0]


def test_vectors_are_scaled_to_length_1_and_those_of_zeros_stay() -> None:
    rows = np.array([[3.0, 0.0], [5.0, 5.0], [0.0, 0.1], [-2.0, 0.0], [0.0, 0.0]])
    cosines = cosines_to(unit(rows))(unit(np.array([[7.0, 0.0]])))[0]
    np.testing.assert_allclose(cosines, [1, np.cos(np.pi / 4), 0, -1, 0], atol=1e-6)
