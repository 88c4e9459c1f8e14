"""A network predicts changes of a series, and is refused where nothing can."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from course.forecast import (
    LINEAR,
    NETWORK,
    RECIPE,
    TODAY,
    Forecast,
    ForecastOptions,
    _gain,
    forecast,
    main,
    noisy_cycle,
    random_walk,
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


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_random_walk_is_refused_and_its_forecast_is_the_last_value(seed: int) -> None:
    walk = random_walk(1_200, seed)
    found = forecast(walk, replace(QUICK, relative=True, training=replace(QUICK.training, epochs=3.0)))
    assert not found.accepted
    assert found.next == walk[-1]
    assert found.errors[NETWORK] > 0.97 * found.errors[TODAY]


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


def test_the_gain_is_a_share_of_the_error_with_an_interval_around_it() -> None:
    today = np.random.default_rng(1).chisquare(1, 400)
    gain, low, high = _gain(0.5 * today, today, QUICK)
    assert (gain, low, high) == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5))
    other = np.random.default_rng(2).chisquare(1, 400)
    gain, low, high = _gain(other, today, QUICK)
    assert low < gain < high
    assert low < 0 < high, "two equally good ways"


def test_equal_arguments_give_equal_forecasts(cycle: Forecast) -> None:
    assert forecast(noisy_cycle(1_200, seed=1), QUICK) == cycle


def test_moving_and_stretching_a_series_moves_and_stretches_its_forecast(cycle: Forecast) -> None:
    found = forecast(7 * noisy_cycle(1_200, seed=1) - 1_000, QUICK)
    assert found.next == pytest.approx(7 * cycle.next - 1_000, rel=1e-3)


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


def test_the_program_reads_a_column_and_says_what_it_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(f"{n},{value}\n" for n, value in enumerate(random_walk(600, 1)))
    (file := tmp_path / "prices.csv").write_text(f"day,close\n{lines}")
    words = ["forecast", "--csv", str(file), "--column", "close", "--epochs", "2", "--hidden", "8"]
    monkeypatch.setattr(sys, "argv", words)
    main()
    shown = capsys.readouterr().out
    assert "refused" in shown
    assert {line.split("  ")[0] for line in shown.splitlines()} >= {NETWORK, LINEAR, TODAY}
