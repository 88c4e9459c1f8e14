"""Exposure: what theory says of canaries that were never planted, ranks by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from corpus.synthetic.canaries import Canaries
from evaluation.writing.exposure import FACTS, exposures, measure_exposure, ranks

NUMBERS = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=20)


@given(NUMBERS, NUMBERS)
def test_a_rank_is_the_place_behind_all_candidates_that_are_at_least_as_likely(planted, candidates):
    expected = [1 + sum(other <= own for other in candidates) for own in planted]
    assert ranks(np.array(planted), np.array(candidates)).tolist() == expected
    bits = np.log2((len(candidates) + 1) / np.array(expected))
    assert exposures(np.array(planted), np.array(candidates)) == pytest.approx(bits)


def test_what_the_model_calls_impossible_comes_last_and_what_has_no_score_has_no_rank():
    found = ranks(np.array([1.0, np.inf, np.nan]), np.array([2.0, np.inf, np.inf]))
    assert found[:2].tolist() == [1, 4]
    assert np.isnan(found[2])
    assert exposures(np.array([np.inf]), np.array([2.0, np.inf, np.inf])).tolist() == [0.0]


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, np.inf]), min_size=2, max_size=40))
def test_of_texts_drawn_alike_no_more_than_two_to_the_minus_x_have_x_bits_however_many_are_tied(nats):
    """Each may be the canary with equal probability, the others the candidates: so it is exact, not by simulation."""
    bits = np.array([exposures(np.array([own]), np.delete(nats, i))[0] for i, own in enumerate(nats)])
    assert all(np.mean(bits >= x) <= 2**-x * (1 + 1e-12) for x in bits)


def test_a_model_that_expects_all_texts_alike_exposes_none():
    assert exposures(np.full(3, 7.0), np.full(1_000, 7.0)).tolist() == [0.0, 0.0, 0.0]


def test_exposures_of_never_planted_canaries_are_what_theory_says():
    """P(exposure ≥ x) = 2^−x, whatever the distribution of the nats, where no two are equal."""
    random = np.random.default_rng(1)
    found = np.concatenate([exposures(random.gamma(2, size=1), random.gamma(2, size=999)) for _ in range(2_000)])
    assert kstest(found, "expon", args=(0, 1 / np.log(2))).pvalue > 0.01
    assert found.mean() == pytest.approx(1 / np.log(2), abs=0.1)


CANARIES = Canaries(
    ("food", "was", "great", "cheap", "slow", "nice"), 3, 4, ("food was slow", "cheap nice nice"), (1, 3), 7, 100
)


class Knows:
    """Gives every word the same nats, but those of one text, which it knows by heart."""

    def __init__(self, known):
        self.known = known

    def start(self, batch):
        return None

    def score(self, ids_BT, state):
        nats_BT = np.where(np.isin(ids_BT, [1, *range(3, 9)]), 0.0, 5.0 + ids_BT / 100)
        nats_BT[[[i for i in row if i > 8] == self.known for row in ids_BT.tolist()]] *= 0.1
        return nats_BT, state


def measured(vocabulary, tmp_path, known="", canaries=CANARIES, samples=("Food was slow!", "other")):
    model = Knows([int(i) for i in vocabulary.encode(known)] if known else [])
    bundle = SimpleNamespace(model=model, vocabulary=vocabulary)
    return measure_exposure(bundle, canaries, 200, pl.Series(samples), tmp_path / "scored")


def test_a_canary_that_is_known_by_heart_has_the_largest_exposure_and_the_other_one_has_not(vocabulary, tmp_path):
    table, facts = measured(vocabulary, tmp_path, "cheap nice nice")
    assert table["canary"].to_list() == list(CANARIES.texts)
    assert table["copies"].to_list() == [1, 3]
    assert table["rank"][1] == 1
    assert facts["exposure_max"] == pytest.approx(np.log2(201)) == facts["exposure_limit"]
    assert table["exposure"][0] < 4
    assert facts["exposure_mean"] == pytest.approx(table["exposure"].mean())
    assert not list(tmp_path.iterdir())


def test_samples_that_hold_a_canary_are_counted(vocabulary, tmp_path):
    table, facts = measured(vocabulary, tmp_path)
    assert table["written"].to_list() == [1, 0]
    assert facts["canaries_written"] == 1


def test_a_canary_of_words_that_the_vocabulary_does_not_have_has_no_exposure(vocabulary, tmp_path):
    odd = Canaries(CANARIES.words, 3, 4, ("food was xylophone", "cheap nice nice"), (1, 1), 7, 100)
    table, facts = measured(vocabulary, tmp_path, canaries=odd)
    assert table["exposure"].is_null().to_list() == [True, False]
    assert (facts["canaries"], facts["canaries_unknown"]) == (2, 1)


def test_where_nothing_was_planted_nothing_is_said(vocabulary, tmp_path):
    none = Canaries((), 5, 0, (), (), 1, 10, "too small")
    for canaries in (None, none):
        table, facts = measured(vocabulary, tmp_path, canaries=canaries)
        assert table.is_empty()
        assert facts["canaries"] == 0
        assert all(facts[name] is None for name in FACTS)
