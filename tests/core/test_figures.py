"""One quantity has one name, sign, unit and rounding wherever users read it."""

from __future__ import annotations

import pytest

from reviewlm.core.figures import (
    ANSWER,
    BASELINE_GAIN,
    BITS,
    CHAMPION_GAIN,
    CHARTS,
    FIGURES,
    RUNS,
    TERMINAL,
    ModelFigure,
    figures_at,
    logged_value,
)
from reviewlm.tracking.client import ABOUT, VIEWS
from reviewlm.tracking.tags import CHART_SECTIONS

ROW = {
    "baseline_gain": 0.0751,
    "baseline_gain_lo": 0.069,
    "baseline_gain_hi": 0.081,
}


def test_every_figure_is_declared_once() -> None:
    names = [figure.name for figure in FIGURES]
    assert len(names) == len(set(names))


def test_a_gain_is_read_in_per_cent_with_half_its_interval() -> None:
    assert BASELINE_GAIN.text(ROW) == "7.5% ±0.6%"
    assert BASELINE_GAIN.text({"baseline_gain": 0.0751}) == "7.5%"


def test_a_gain_whose_interval_holds_nothing_is_marked_as_perhaps_chance() -> None:
    assert BASELINE_GAIN.text({**ROW, "baseline_gain_lo": -0.001}).startswith("≈7.5%")


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (float("nan"), "–"), (float("inf"), "infinite")]
)
def test_what_is_no_number_is_said_in_a_word(value: float | None, text: str) -> None:
    assert BITS.number(value) == text


def test_mlflow_has_gains_in_per_cent_with_both_ends() -> None:
    assert [logged_value(name, value) for name, value in ROW.items()] == pytest.approx(
        [7.51, 6.9, 8.1]
    )
    assert logged_value("open_bits_per_byte", 0.4385) == 0.4385
    assert logged_value("a figure of another kind", 0.5) == 0.5


def test_the_report_has_the_columns_of_the_terminal_in_the_same_order() -> None:
    report = [figure.heading("kn5") for figure in figures_at(ANSWER)]
    terminal = [figure.heading("kn5") for figure in figures_at(TERMINAL)]
    assert report[: len(terminal)] == terminal
    assert all(figure.meaning for figure in figures_at(TERMINAL))


@pytest.mark.parametrize("gain", [BASELINE_GAIN, CHAMPION_GAIN])
def test_mlflow_lists_a_gain_under_its_name(gain: ModelFigure) -> None:
    assert f"metrics.`{gain.run_name}`" in VIEWS["runs"]["selectedColumns"]
    assert f"`{gain.run_name}`" in ABOUT
    assert gain in figures_at(RUNS)


def test_mlflow_charts_a_gain_under_its_name() -> None:
    assert CHART_SECTIONS["test/baseline_gain"] == "test/baseline_gain"
    assert BASELINE_GAIN in figures_at(CHARTS)
