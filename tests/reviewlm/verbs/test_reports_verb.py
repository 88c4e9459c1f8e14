"""`reviewlm compare` shows two models as tables, and ends with the verdict."""

from __future__ import annotations

from typing import Any

import pytest

from reviewlm.verbs import compare

GAIN = {"gain": 0.1, "gain_lo": 0.05, "gain_hi": 0.15, "verdict": "B is better"}
LOSS = {"gain": -0.25, "gain_lo": -0.3, "gain_hi": -0.2, "verdict": "A is better"}
NONE = {"gain": 0.1, "gain_lo": -0.3, "gain_hi": 0.3, "verdict": "no difference shown"}
INFINITE = {"gain": None, "gain_lo": None, "gain_hi": None, "verdict": "not known"}


def result_with(verdict: dict[str, Any]) -> dict[str, Any]:
    """A comparison whose main figure has this verdict; A needs 2.0 bits."""
    b = None if verdict["gain"] is None else 2.0 * (1 - verdict["gain"])
    main = {"figure": "open bits per byte", "A": 2.0, "B": b, "difference": -0.2, "lo": 0, "hi": 0}
    return {
        "a": "version 1",
        "b": "version 2",
        "reviews": 80,
        "notes": [],
        "confidence": 0.95,
        "figures": [{**main, **verdict}],
        "slices": [
            {"dimension": "month", "slice": name, "reviews": 40, "A": 2.0, "B": 1.8, **GAIN}
            for name in ("2008", "2008-03")
        ],
        "costs": [{"cost": "parameters", "A": 1_513_966.0, "B": None}],
        "samples": [{"stars": 3, "A": "Cold soup.", "B": "Warm soup."}],
        "markdown": "m.md",
        "mlflow_run_id": "r",
        "mlflow_page": "http://127.0.0.1:5000/#/r",
    }


def test_two_compared_models_have_years_and_whole_counts_in_their_tables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    compare._show(result_with(GAIN), samples=False)
    rows = [line.replace("│", "|").split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1:4:2] for row in rows if "2008" in row or "2008-03" in row] == [
        ["year", "2008"],
        ["month", "2008-03"],
    ]
    assert ["|", "parameters", "|", "1,513,966", "|", "–", "|"] in rows


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (GAIN, ["version 2 is better than version 1", "10.0%"]),
        (LOSS, ["version 1 is better than version 2", "20.0%"]),  # 1 − 2.0 / 2.5
        (NONE, ["no difference"]),
        (INFINITE, ["infinite"]),
    ],
)
def test_the_last_line_is_the_verdict(
    verdict: dict[str, Any], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    compare._show(result_with(verdict), samples=False)
    last = capsys.readouterr().out.splitlines()[-1]
    assert [word for word in words if word not in last] == []


@pytest.mark.parametrize("asked", [True, False])
def test_samples_are_shown_only_if_asked_for(
    asked: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    compare._show(result_with(GAIN), samples=asked)
    assert ("Warm soup." in capsys.readouterr().out) == asked
