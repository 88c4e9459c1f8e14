"""The interval of a mean over seeds: a known answer, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.statistics.seeds import mean_interval


def test_three_seeds_give_the_interval_of_students_table() -> None:
    """t of 2 degrees of freedom at 97.5 % is 4.303 in any table; the standard deviation of 1, 2, 3 is 1."""
    found = mean_interval([1.0, 2.0, 3.0], 0.95)
    assert (found.mean, found.deviation, found.seeds) == (2.0, 1.0, 3)
    assert found.high - found.mean == pytest.approx(4.303 / 3**0.5, rel=1e-4)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    held = [mean_interval(list(generator.normal(5, 2, 3)), 0.8) for _ in range(2_000)]
    assert np.mean([found.low <= 5 <= found.high for found in held]) == pytest.approx(0.8, abs=0.03)


def test_one_seed_says_nothing_of_chance() -> None:
    with pytest.raises(ValueError, match="at least 2 seeds"):
        mean_interval([1.0], 0.95)
