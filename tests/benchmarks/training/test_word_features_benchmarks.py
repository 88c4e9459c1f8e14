"""The benchmarks of what a window of words is worth, and of one-hot against dense features, in small."""

import numpy as np
import pytest

from benchmarks.training import one_hot, window


def test_a_token_is_taken_with_the_four_before_it_or_with_all_there_are():
    ids = np.array([1, 8, 20, 21, 22, 23], np.uint16)
    found = [np.frombuffer(one, np.int64).tolist() for one in window.windows(ids)]
    assert found == [[1], [1, 8], [1, 8, 20], [1, 8, 20, 21], [1, 8, 20, 21, 22], [8, 20, 21, 22, 23]]


def test_both_models_see_the_same_four_words():
    assert window.nplm(3).context == window.ORDER - 1 == 4


@pytest.mark.long
def test_bytes_are_those_of_the_matrices():
    row = one_hot.measured(30)
    features = 4 * one_hot.POSITIONS * one_hot.FEATURES
    assert row["look-up_bytes"] == features
    assert row["one-hot_bytes"] == features + 4 * one_hot.POSITIONS * 30
