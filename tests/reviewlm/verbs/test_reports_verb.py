"""`reviewlm compare` shows two models as tables, and ends with the verdict."""

from __future__ import annotations

from typing import Any

import pytest

from reviewlm.verbs import compare

GAIN = {
    "better": "B",
    "gain": 0.1,
    "gain_lo": 0.05,
    "gain_hi": 0.15,
    "verdict": "B is better",
}


def result_with(*others: str) -> dict[str, Any]:
    """A comparison in which B saves a tenth of A's 2.0 bits per byte, with further figures of these names."""
    main = {
        "A": 2.0,
        "B": 1.8,
        "difference": -0.2,
        "lo": 0,
        "hi": 0,
        **GAIN,
    }
    figures = [{"figure": name, **main} for name in ("open bits per byte", *others)]
    return {
        "a": "version 1",
        "b": "version 2",
        "reviews": 80,
        "notes": [],
        "confidence": 0.95,
        "figures": figures,
        "verdict": "version 2 is better than version 1 by 10.00% of its open bits per byte",
        "slices": [
            {
                "dimension": "month",
                "slice": name,
                "reviews": 40,
                "A": 2.0,
                "B": 1.8,
                **GAIN,
            }
            for name in ("2008", "2008-03")
        ],
        "costs": [
            {
                "cost": "parameters",
                "A": 1_513_966.0,
                "B": None,
            }
        ],
        "samples": [
            {
                "stars": 3,
                "A": "Cold soup.",
                "B": "Warm soup.",
            }
        ],
        "markdown": "m.md",
        "mlflow_run_id": "r",
        "mlflow_page": "http://127.0.0.1:5000/#/r",
    }


@pytest.fixture
def table_rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The cells of the tables of two compared models."""
    compare._show(result_with(), samples=False)
    return [line.replace("│", "|").split() for line in capsys.readouterr().out.splitlines()]


def test_two_compared_models_have_tables_by_year_beside_month(table_rows: list[list[str]]) -> None:
    found = [row[1:4:2] for row in table_rows if "2008" in row or "2008-03" in row]
    assert found == [["year", "2008"], ["month", "2008-03"]]


def test_two_compared_models_have_whole_counts_in_their_tables(table_rows: list[list[str]]) -> None:
    assert ["|", "parameters", "|", "1,513,966", "|", "–", "|"] in table_rows


def test_the_last_line_is_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    compare._show(result_with(), samples=False)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Verdict: version 2 is better than version 1 by 10.00%")


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        (("closed bits per byte", "perplexity", "perplexity per word"), "perplexity"),
        (("perplexity per word",), "perplexity per word"),
    ],
)
def test_the_figure_that_decides_is_shown_with_the_one_other_that_compares_them(
    measured: tuple[str, ...],
    shown: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    compare._show(result_with(*measured), samples=False)
    lines = capsys.readouterr().out.splitlines()
    cells = [line.split("│")[1].strip() for line in lines if line.count("│") == 4]
    assert cells[:2] == ["open bits per byte", shown]
    assert "closed bits per byte" not in cells


@pytest.mark.parametrize("asked", [True, False])
def test_samples_are_shown_only_if_asked_for(
    asked: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    compare._show(result_with(), samples=asked)
    assert ("Warm soup." in capsys.readouterr().out) == asked
