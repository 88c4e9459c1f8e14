"""The log of a run that nobody watches has what the terminal shows: data, table, what was passed over."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.figures import Amount
from reviewlm.corpus.account import Account, Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.tasks.execution import stage
from reviewlm.tasks.records.result_lines import aligned_lines, result_lines


def model(
    name: str,
    bits: float,
    adaptation: str = "static",
) -> dict[str, Any]:
    test = {
        "open_bits_per_byte": bits,
        "open_bits_per_byte_lo": bits - 0.01,
        "open_bits_per_byte_hi": bits + 0.01,
        "perplexity": 10 * bits,
        "baseline_gain": 1 - bits,
        "reviews": 100,
    }
    return {
        "name": name,
        "unit": "word",
        "adaptation": adaptation,
        "test": test,
    }


RESULT = {
    "account": Account(
        {"a.csv": 100},
        (
            Entry(
                "read",
                Outcome.SET_ASIDE,
                Kind.MISSING_TEXT,
                7,
                "a.csv",
            ),
        ),
    ).to_dict(),
    "models": [model("kn5", 1.0), model("lstm+cache", 0.7, "cache"), model("lstm", 0.8)],
    "baseline": "kn5",
    "passed_over": ["'lstm+cache', better on validation: it adapts"],
}


def test_the_log_has_the_account_of_the_data() -> None:
    data = next(line for line in result_lines(RESULT) if line.startswith("Data: "))
    assert "100 records read = 93 used" in data


def test_the_log_lists_static_models_the_best_first_before_those_that_adapt() -> None:
    lines = list(result_lines(RESULT))
    listed = [line.split()[0] for line in lines if line.split()[0] in ("kn5", "lstm", "lstm+cache")]
    assert listed == ["lstm", "kn5", "lstm+cache"]
    best = next(line for line in lines if line.startswith("lstm "))
    for figure in ("0.800", "20.0%"):
        assert figure in best


def test_the_log_says_which_models_were_passed_over() -> None:
    assert "Passed over: 'lstm+cache', better on validation: it adapts." in list(
        result_lines(RESULT)
    )


def test_columns_of_a_logged_table_have_equal_widths() -> None:
    rows = [{"model": "kn5", "gain": Amount("1.0%")}, {"model": "lstm", "gain": Amount("20.0%")}]
    assert aligned_lines(rows) == ["model   gain", "kn5     1.0%", "lstm   20.0%"]


@pytest.mark.parametrize(
    ("deployment", "always", "logged"),
    [
        ("deployed", False, ["Data: 1", "Promoted lstm (0.8)"]),
        (None, False, []),
        (None, True, ["Promoted lstm (0.8)"]),
    ],
)
def test_the_last_line_of_a_deployments_log_is_the_message_of_its_state(
    deployment: str | None,
    always: bool,
    logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(stage, "deployment", SimpleNamespace(id=deployment))
    with caplog.at_level(logging.INFO, logger=stage.log.name):
        state: Any = stage.conclude({"a": 1}, "Promoted lstm (0.8)", ["Data: 1"], always=always)

    assert caplog.messages == logged
    assert state.is_completed()
    assert state.message == "Promoted lstm (0.8)"
