"""Odd reviews: p-values that keep their promise, both ends, reviews of equal length compared with each other."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

from benchmarks.data.odd_reviews import area_under_curve, found_among_top
from reviewlm.evaluation.drift.odd_reviews import (
    compare,
    compare_values,
    odd_counts,
    odd_table,
    surprise,
)


def scored(
    bits: list[float] | np.ndarray,
    sizes: list[int] | np.ndarray,
    name: str = "r",
) -> pl.DataFrame:
    """Reviews that cost so many bits per byte, one nat of it the spelling of unknown words."""
    nats = np.asarray(bits) * np.asarray(sizes) * math.log(2)
    return pl.DataFrame(
        {
            "review_id": [f"{name}{n}" for n in range(len(nats))],
            "stars": [5] * len(nats),
            "text": ["The food was great. " * 20] * len(nats),
            "bytes": sizes,
            "nats": nats - 1.0,
            "spelling_nats": [1.0] * len(nats),
        }
    )


def test_the_surprise_is_bits_per_byte_with_unknown_words_spelt_out() -> None:
    assert surprise(scored([1.5, 2.0], [100, 10])) == pytest.approx([1.5, 2.0])


def test_a_p_value_counts_what_is_at_least_as_odd() -> None:
    found = compare(scored([1.0, 2.0, 3.5, 4.0], [50] * 4), scored([3.0, 9.0, 0.5], [50] * 3))
    assert found.above_N == pytest.approx([3 / 5, 1 / 5, 5 / 5])
    assert found.below_N == pytest.approx([3 / 5, 5 / 5, 1 / 5])
    assert found.expected_N == pytest.approx([2.75] * 3)
    assert found.two_sided_N == pytest.approx([1.0, 0.4, 0.4])


def test_of_normal_values_the_deviation_is_in_standard_deviations() -> None:
    # Quartiles of a deviation of 0.3.
    known = 2 + 0.3 * NormalDist().inv_cdf(0.75) * np.array([-9, -1, 0, 1, 9])
    found = compare_values(known, np.ones(5), np.array([2.6, 1.7]), np.ones(2))
    assert found.deviation_N == pytest.approx([2.0, -1.0], rel=1e-3)


def test_a_review_is_held_against_those_of_its_length_only() -> None:
    known = scored([5.0] * 20 + [2.0] * 20, [20] * 20 + [500] * 20)
    found = compare(known, scored([4.9, 4.9, 9.0], [20, 500, 5_000]), neighbours=20)
    assert found.expected_N.tolist() == pytest.approx([5.0, 2.0, 2.0])
    assert (found.above_N[1], found.below_N[0], found.above_N[2]) == pytest.approx(
        (1 / 21, 1 / 21, 1 / 21)
    )
    assert found.above_N[0] == 1


def test_of_the_same_source_false_alarms_come_at_the_nominal_rate_whatever_the_lengths() -> None:
    draw = np.random.default_rng(1)

    def sample(count: int) -> tuple[np.ndarray, np.ndarray]:
        sizes = draw.integers(20, 2_000, count)
        return 1.5 + 40 / sizes + draw.gamma(2, 8 / np.sqrt(sizes)), sizes

    known, new = sample(4_000), sample(20_000)
    found = compare_values(*known, *new)
    for level in (0.02, 0.1):
        luck = 5 * math.sqrt(level / 4_000)  # of the known sample; the new one is larger
        assert abs((found.above_N <= level).mean() - level) < luck
        assert abs((found.below_N <= level).mean() - level) < luck


@pytest.fixture(scope="module")
def known() -> pl.DataFrame:
    """Draw 500 reviews whose surprise is known."""
    return scored(np.random.default_rng(2).normal(2, 0.1, 500), [300] * 500, "known")


@pytest.fixture(scope="module")
def batch() -> pl.DataFrame:
    """Draw 50 usual reviews, with one far too surprising and one far too predictable."""
    usual = scored(np.random.default_rng(3).normal(2, 0.1, 50), [300] * 50, "usual")
    return pl.concat([usual, scored([3.9, 0.05], [300] * 2, "odd")])


def test_the_table_has_the_asked_number_of_reviews(known, batch) -> None:
    assert odd_table(known, batch, 5).height == 5


def test_the_table_names_the_oddest_first(known, batch) -> None:
    assert odd_table(known, batch, 5)["review_id"].to_list()[:2] == ["odd1", "odd0"]


def test_the_table_says_at_which_end_a_review_is_odd(known, batch) -> None:
    odd = odd_table(known, batch, 5)["odd"].to_list()

    assert odd[:2] == ["too predictable", "too surprising"]


def test_the_table_gives_the_surprise_expected_of_the_length(known, batch) -> None:
    assert odd_table(known, batch, 5)["expected"][0] == pytest.approx(2.0, abs=0.03)


def test_the_table_cuts_texts_at_160_characters(known, batch) -> None:
    assert odd_table(known, batch, 5)["text"].str.len_chars().max() == 160


def test_odd_reviews_are_counted_at_either_end(known, batch) -> None:
    counts = odd_counts(known, batch, 0.01)

    assert counts["surprising"] >= 1
    assert counts["predictable"] >= 1


def test_counts_of_odd_reviews_stand_beside_those_by_chance(known, batch) -> None:
    counts = odd_counts(known, batch, 0.01)

    assert (counts["by_chance"], counts["reviews"]) == (0.52, 52)


def test_a_review_that_the_model_calls_impossible_is_the_oddest() -> None:
    known = scored([2.0] * 100, [300] * 100)
    table = odd_table(known, scored([math.inf, 3.0, 2.0], [300] * 3), 2)
    assert table["review_id"].to_list() == ["r0", "r1"]
    assert table["odd"].to_list() == ["too surprising"] * 2


def test_the_area_under_the_curve_is_the_share_of_pairs_in_the_right_order() -> None:
    draw = np.random.default_rng(3)
    odd, usual = draw.integers(3, 9, 40), draw.integers(0, 7, 60)
    pairs = np.sign(odd[:, None] - usual[None, :])
    assert area_under_curve(odd, usual) == pytest.approx(((pairs + 1) / 2).mean())
    assert area_under_curve(np.array([9]), np.arange(9)) == 1
    assert area_under_curve(np.array([1, 1]), np.array([1, 1])) == 0.5


def test_the_top_holds_no_more_of_the_usual_than_its_share() -> None:
    usual = np.arange(100.0)
    assert found_among_top(np.array([97.0, 97.5, 98.0, 200.0]), usual, 0.02) == 0.75
    assert found_among_top(np.array([99.0]), usual, 0.0) == 0.0
    assert found_among_top(np.array([99.5]), usual, 0.0) == 1.0


def test_gibberish_is_the_oddest_though_its_unknown_words_are_cheap_tokens() -> None:
    known = scored(1.5 + 0.1 * np.random.default_rng(2).normal(size=200), [400] * 200)
    usual = known.head(50).with_columns(pl.col("review_id").str.replace("r", "u"))
    planted = scored([0.9], [400], "gibberish").with_columns(
        spelling_nats=pl.lit(4.0 * 400 * math.log(2))
    )
    table = odd_table(known, pl.concat([usual, planted]), 5)
    assert table.row(0, named=True)["review_id"] == "gibberish0"
    assert table.row(0, named=True)["odd"] == "too surprising"
    assert odd_counts(known, planted, 0.01)["surprising"] == 1
