"""A network predicts changes of a series, and is refused where nothing can."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from course.forecast import (
    LINEAR,
    NETWORK,
    RECIPE,
    TODAY,
    Forecast,
    ForecastOptions,
    forecast,
    noisy_cycle,
)
from models.base import ModelError

QUICK = ForecastOptions(window=12, hidden=12, training=replace(RECIPE, epochs=6.0))


@pytest.fixture(scope="module")
def cycle() -> Forecast:
    return forecast(noisy_cycle(1_200, seed=1), QUICK)


def test_what_can_be_predicted_is_accepted(cycle: Forecast) -> None:
    assert cycle.accepted
    assert cycle.errors[NETWORK] < 0.8 * cycle.errors[TODAY]
    assert cycle.gain[1] > 0.3
    assert cycle.tested == 180


def test_the_errors_are_those_of_the_definition() -> None:
    values = noisy_cycle(1_000, seed=3)
    changes = np.diff(values)
    test = np.arange(QUICK.window, len(changes)) >= round(0.85 * len(changes))
    naive = np.sqrt(np.mean(changes[QUICK.window :][test] ** 2))
    found = forecast(values, replace(QUICK, training=replace(QUICK.training, epochs=1.0)))
    assert found.errors[TODAY] == pytest.approx(naive, rel=1e-12)


def test_a_linear_series_is_predicted_by_the_linear_way_exactly() -> None:
    changes = [1.0, -0.5]
    for _ in range(800):  # d_t = 0.5 d_{t-1} − 0.9 d_{t-2}, which is driven by nothing else
        changes.append(0.5 * changes[-1] - 0.999 * changes[-2])
    found = forecast(np.cumsum(changes), replace(QUICK, window=4, training=replace(QUICK.training, epochs=1.0)))
    assert found.errors[LINEAR] < 1e-5 * found.errors[TODAY]


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.arange(300.0), QUICK, "345|values"),
        (np.full(1_000, 3.0), QUICK, "does not change"),
        (np.r_[np.arange(500.0), np.nan, np.arange(500.0)], QUICK, "value 501"),
        (np.arange(-5.0, 995.0), replace(QUICK, relative=True), "value 1 is -5"),
    ],
)  # fmt: skip
def test_a_series_that_cannot_be_used_is_refused(values: np.ndarray, options: ForecastOptions, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        forecast(values, options)
