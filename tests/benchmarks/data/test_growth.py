"""Growth is a power of the reviews between the last two measurements, and projected with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data.growth import draw, exponent, grown

TABLES = {
    0.01: {"read": {"wall_s": 2.0, "peak_mib": 500}, "whole run": {"wall_s": 20.0, "peak_mib": 600}},
    0.1: {"read": {"wall_s": 10.0, "peak_mib": 500}, "whole run": {"wall_s": 60.0, "peak_mib": 900}},
    1.0: {
        "read": {"wall_s": 100.0, "peak_mib": 500}, "whole run": {"wall_s": 6_000.0, "peak_mib": 1_200},
        "server": {"peak_mib": 250},
    },
}  # fmt: skip


def test_an_exponent_is_that_of_the_power_law_through_two_points() -> None:
    assert exponent(3 * 7**1.25, 3 * 70**1.25, 10) == pytest.approx(1.25)


def test_ten_times_the_reviews_of_a_linear_stage_take_ten_times_as_long() -> None:
    table = grown(TABLES)
    assert table["read"]["exponent"] == 1.0
    assert table["read"]["hours at 10 ×"] == pytest.approx(1000 / 3600, abs=0.01)
    assert table["whole run"]["exponent"] == 2.0
    assert table["whole run"]["hours at 100 ×"] == pytest.approx(6_000 * 10_000 / 3600, abs=0.01)
    assert (table["read"]["wall_s of 1%"], table["read"]["wall_s of 10%"]) == (2.0, 10.0)
    assert table["server"] == {"peak_mib": 250}


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    draw(TABLES, 1_000_000, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 5_000
