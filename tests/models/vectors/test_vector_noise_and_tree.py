"""Noise words follow count^0.75, and the Huffman tree gives every word a probability at the smallest expected cost."""


import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from models.compiled import kernel
from models.vectors.huffman import huffman_tree
from models.vectors.kernels import draw_noise
from models.vectors.noise import ONE, noise_table
from models.vectors.objective import path_log_probability
from tests.models.least_cost import least_cost

COUNTS = np.array([1000, 400, 400, 90, 33, 20, 7, 5, 1, 1])
some_counts = st.lists(st.integers(1, 10_000), min_size=2, max_size=40)


def draws(counts, power, number, seed=7):
    table = noise_table(np.array(counts), power)
    random, found = np.array([seed], np.uint64), np.zeros(len(counts), np.int64)
    _count_draws(random, table.threshold_N, table.alias_N, number, found)
    return found


@kernel
def _count_draws(random, threshold_N, alias_N, number, found_N):
    for _ in range(number):
        found_N[draw_noise(random, threshold_N, alias_N)] += 1


def probabilities(table):
    own = table.threshold_N / ONE
    return (own + np.bincount(table.alias_N, weights=1.0 - own, minlength=len(own))) / len(own)


def mean_length(counts):
    return np.average(huffman_tree(np.array(counts)).lengths_N, weights=counts)


def expected(counts, power):
    weights = np.array(counts, float) ** power
    return weights / weights.sum()


def test_drawn_noise_words_follow_counts_to_the_power_three_quarters():
    found = draws(COUNTS, 0.75, 1_000_000)
    assert chisquare(found, expected(COUNTS, 0.75) * found.sum()).pvalue > 0.001


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_the_same_draws_do_not_follow_another_power(power):
    found = draws(COUNTS, 0.75, 1_000_000)
    assert chisquare(found, expected(COUNTS, power) * found.sum()).pvalue < 1e-9


@given(some_counts, st.sampled_from([0.0, 0.5, 0.75, 1.0]))
def test_the_table_has_exactly_the_wanted_probabilities(counts, power):
    found = probabilities(noise_table(np.array(counts), power))
    np.testing.assert_allclose(found, expected(counts, power), atol=1e-8)


@given(some_counts, st.integers(0, 2**32))
def test_the_probabilities_of_all_words_sum_to_one(counts, seed):
    tree, rng = huffman_tree(np.array(counts)), np.random.default_rng(seed)
    h, u = rng.normal(size=5), 3 * rng.normal(size=(len(counts) - 1, 5))
    words = np.arange(len(counts))
    logp = path_log_probability(np.tile(h, (len(counts), 1)), words, u, tree)
    assert np.exp(logp).sum() == pytest.approx(1, abs=1e-9)


@given(some_counts)
def test_the_expected_code_length_is_the_smallest_possible(counts):
    assert mean_length(counts) == pytest.approx(least_cost(counts) / sum(counts))


@given(some_counts)
def test_the_expected_code_length_is_between_the_entropy_and_one_bit_more(counts):
    share = np.array(counts) / sum(counts)
    entropy = -(share * np.log2(share)).sum()
    assert entropy - 1e-9 <= mean_length(counts) < entropy + 1


@given(some_counts)
def test_no_code_is_the_beginning_of_another(counts):
    tree = huffman_tree(np.array(counts))
    codes = [tuple(tree.first_P[a:b]) for a, b in zip(tree.starts[:-1], tree.starts[1:], strict=True)]
    assert len(set(codes)) == len(codes)
    assert not any(one != other and other[: len(one)] == one for one in codes for other in codes)


def test_equally_frequent_words_cost_the_logarithm_of_their_number():
    assert huffman_tree(np.full(1024, 3)).lengths_N.tolist() == [10] * 1024
