"""A scaling fit foretells what it should: exactly without noise, with the stated coverage under a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from course.scaling import Law, foretell
from tests.marked_cases import long_but

SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4)


def test_without_noise_the_law_itself_comes_back() -> None:
    law = Law(2.0, 40.0, 0.3, 0.0)
    sizes = [1e4, 2e4, 4e4, 8e4, 1.6e5]
    found = foretell(sizes, [law(size) for size in sizes], 2.56e6, 0.8, seed=1)
    assert found.law.exponent == pytest.approx(0.3, abs=0.011)  # one step of the grid
    assert found.law.floor == pytest.approx(2.0, abs=0.1)
    assert found.nats == pytest.approx(law(2.56e6), abs=0.02)
    assert found.holds(law(2.56e6))


@pytest.mark.long
@pytest.mark.parametrize("seeds", long_but([1, 2], {2}))
def test_intervals_of_80_percent_hold_between_70_and_90_percent_of_the_time(seeds: int) -> None:
    """Learning curves with known E, A, α and noise, drawn anew each time; the whole fit is 4 times the largest."""
    generator = np.random.default_rng(11)
    held = []
    for number in range(150):
        floor, exponent = generator.uniform(1.5, 4), generator.uniform(0.1, 0.7)
        size, gap = 10 ** generator.uniform(5.5, 8), generator.uniform(0.5, 2.5)
        noise = 10 ** generator.uniform(-2.5, -1.5)
        sizes = np.repeat(np.array(SHARES) * size, seeds)
        law = Law(floor, gap / sizes[0] ** -exponent, exponent, noise)
        losses = [law(one) + noise * generator.standard_normal() for one in sizes]
        found = foretell(sizes, losses, size, 0.8, seed=number)
        held.append(found.holds(law(size) + noise * generator.standard_normal()))
    assert 0.7 <= np.mean(held) <= 0.9


@pytest.mark.parametrize(
    ("sizes", "losses", "said"),
    [
        ([1e4, 2e4, 4e4], [5, 4.8, 4.7], "at least 4 fits of 3 sizes"),
        ([1e4, 1e4, 2e4, 2e4], [5, 5.1, 4.8, 4.9], "4 of 2"),
        ([1e4, 2e4, 4e4, 8e4], [5, 5.1, 5.2, 5.3], "do not fall"),
        ([1e4, 2e4, 4e4, 8e4], [5, 4.8, float("nan"), 4.6], "positive and finite"),
        ([1e4, 1.01e4, 2e4, 2.02e4, 4e4, 4.04e4], [5.61, 5.53, 5.13, 5.16, 4.02, 4.11], "use larger shares"),
    ],
)
def test_what_no_law_can_be_had_from_is_refused(sizes: list[float], losses: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        foretell(sizes, losses, 1e6, 0.8, seed=1)
