"""The classifier of stars, and how its agreement is counted."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from evaluation.writing.star_consistency import Polarity, agreement, wilson

KIND = ["the food was great", "great place and great staff", "loved it", "we loved the soup"]
UNKIND = ["the food was awful", "awful place and rude staff", "hated it", "we hated the soup"]


def reviews(kind, unkind):
    return pl.DataFrame({"text": [*kind, *unkind], "stars": [5] * len(kind) + [1] * len(unkind)})


def test_weights_are_the_log_ratio_of_the_shares_of_the_texts_that_hold_a_feature():
    polarity = Polarity.train([reviews(["good good", "good"], ["bad", "bad"])])
    shares = {"good": (3 / 4, 1 / 4), "bad": (1 / 4, 3 / 4)}  # add-one over the two features in two texts or more
    expected = {word: np.log(kind / unkind) for word, (kind, unkind) in shares.items()}
    assert dict(polarity.weights.rows()) == pytest.approx(expected)
    assert polarity.log_odds(pl.Series(["good", "good bad", "Bad!", "else", ""])) == pytest.approx(
        [expected["good"], 0, expected["bad"], 0, 0]
    )


def test_many_kind_reviews_do_not_make_a_word_that_both_use_a_kind_one():
    table = reviews(["fine lovely", "fine sweet"] * 20, ["fine awful", "fine rude"] * 2)
    weights = dict(Polarity.train([table]).weights.rows())
    assert weights["fine"] == pytest.approx(0, abs=1e-9)
    assert weights["lovely"] == pytest.approx(-weights["rude"]) == pytest.approx(np.log(3))


def test_pairs_of_words_tell_not_good_from_good():
    texts = reviews(["good food", "good place"] * 5, ["not good food", "not good place"] * 5)
    assert (Polarity.train([texts]).log_odds(pl.Series(["good beer", "not good beer"])) > 0).tolist() == [True, False]


def test_the_cut_into_batches_changes_nothing_and_no_pair_spans_two_texts(tmp_path):
    table = reviews(KIND * 3, UNKIND * 3)
    whole, cut = Polarity.train([table]), Polarity.train(table.iter_slices(5))
    assert whole.weights.equals(cut.weights)
    assert "great loved" not in whole.weights["feature"]
    whole.save(tmp_path / "w.parquet")
    assert Polarity.load(tmp_path / "w.parquet").weights.equals(whole.weights)


def test_no_more_reviews_are_read_than_asked_for_and_three_stars_are_no_polarity():
    table = pl.concat([pl.DataFrame({"text": ["soso soso"] * 9, "stars": [3] * 9}), reviews(KIND, UNKIND)] * 2)
    read = Polarity.train([table], 8)
    assert read.weights.equals(Polarity.train([table.head(17)]).weights)
    assert not read.weights["feature"].str.contains("soso").any()


def test_without_stars_there_is_no_classifier():
    assert Polarity.train([pl.DataFrame({"text": KIND, "stars": [0] * 4})]) is None
    assert Polarity.train([pl.DataFrame({"text": KIND, "stars": [5] * 4})]) is None
    assert Polarity.train([]) is None


def test_both_polarities_count_equally_and_the_middle_does_not_count():
    stars = pl.Series([5] * 80 + [4] * 10 + [3] * 7 + [1] * 6 + [2] * 4)
    always_kind = agreement(stars, np.ones(107))
    assert (always_kind.share, always_kind.positive, always_kind.negative) == (0.5, 1.0, 0.0)
    assert always_kind.texts == 100
    assert agreement(stars, np.zeros(107)).share == 0  # what says nothing agrees with no star
    assert agreement(stars.filter(stars > 2), np.ones(97)) is None


def test_the_interval_covers_the_true_agreement_as_often_as_it_says():
    random, held = np.random.default_rng(4), 0
    stars = pl.Series([1] * 40 + [5] * 160)
    for _ in range(1_000):
        right = random.random(200) < np.where(stars.to_numpy() == 1, 0.7, 0.9)
        found = agreement(stars, np.where(stars.to_numpy() == 1, -1, 1) * np.where(right, 1, -1))
        held += found.low <= 0.8 <= found.high
    assert held / 1_000 == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (3, 17), (700, 1_000)])
def test_an_interval_of_a_share_is_wilsons(hits, count):
    expected = binomtest(hits, count).proportion_ci(0.95, "wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-6)
