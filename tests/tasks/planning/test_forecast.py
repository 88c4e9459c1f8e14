"""Before a run, its time is told about right, and a time for `--minutes` that is worth it."""

from __future__ import annotations

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.tasks.planning.forecast import MINUTES, WORTHWHILE_GAIN, forecast_run

SMALL = load_config("small")


def test_the_time_of_a_preset_is_near_the_measured_one() -> None:
    """10,000 reviews of 8 MB took 6:18 min on two idle cores (docs/how_to/own_reviews.md)."""
    forecast = forecast_run(
        SMALL.split,
        SMALL.models,
        10_000,
        800,
        cores=2,
    )
    assert forecast.preset_minutes == pytest.approx(6.3, rel=0.3)


def test_a_preset_with_other_networks_has_no_forecast() -> None:
    config = load_config("demo")
    assert (
        forecast_run(
            config.split,
            config.models,
            7_000,
            400,
            cores=2,
        ).preset_minutes
        is None
    )


@pytest.mark.parametrize("reviews", [1_000, 10_000, 100_000, 1_000_000])
def test_twice_the_advised_time_saves_little_more_unless_it_is_the_longest(reviews: int) -> None:
    forecast = forecast_run(
        SMALL.split,
        SMALL.models,
        reviews,
        600,
        cores=2,
    )
    assert forecast.minutes in MINUTES
    assert 0 < forecast.saves <= forecast.twice
    assert forecast.twice - forecast.saves < WORTHWHILE_GAIN or forecast.minutes == MINUTES[-1]


def test_more_cores_or_fewer_reviews_take_no_longer() -> None:
    few, many, fast = (
        forecast_run(
            SMALL.split,
            SMALL.models,
            reviews,
            600,
            cores,
        )
        for reviews, cores in ((10_000, 2), (100_000, 2), (100_000, 16))
    )
    assert few.preset_minutes is not None
    assert many.preset_minutes is not None
    assert fast.preset_minutes is not None
    assert few.preset_minutes < many.preset_minutes
    assert fast.preset_minutes < many.preset_minutes


def test_a_handful_of_texts_has_no_network() -> None:
    assert (
        forecast_run(
            SMALL.split,
            SMALL.models,
            3,
            600,
            cores=2,
        ).hidden
        == 0
    )
