"""`reviewlm compare` shows two models as tables."""

from __future__ import annotations

import pytest

from reviewlm.verbs import compare


def test_two_compared_models_have_years_and_whole_counts_in_their_tables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    gain = {"gain": 0.1, "gain_lo": 0.05, "gain_hi": 0.15, "verdict": "B is better"}
    slices = [
        {"dimension": "month", "slice": name, "reviews": 40, "A": 2.0, "B": 1.8, **gain}
        for name in ("2008", "2008-03")
    ]
    compare._show(
        {
            "a": "version 1",
            "b": "version 2",
            "reviews": 80,
            "notes": [],
            "confidence": 0.95,
            "figures": [],
            "slices": slices,
            "costs": [{"cost": "parameters", "A": 1_513_966.0, "B": None}],
            "samples": [],
            "markdown": "m.md",
            "mlflow_run_id": "r",
        }
    )
    rows = [line.replace("│", "|").split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1:4:2] for row in rows if "2008" in row or "2008-03" in row] == [
        ["year", "2008"],
        ["month", "2008-03"],
    ]
    assert ["|", "parameters", "|", "1,513,966", "|", "–", "|"] in rows
