"""The verdict of a retrain in one sentence: decision, figures, reason."""

from __future__ import annotations

import pytest

from reviewlm.tasks.records.run_summary import verdict_of

TEST = {"open_bits_per_byte": 0.4531, "perplexity": 3.5862, "reviews": 1679}


@pytest.mark.parametrize(
    ("promoted", "version", "begins"),
    [
        (True, 3, "Promoted lstm as version 3 ("),
        (False, 3, "Not promoted: lstm as version 3 ("),
        (False, None, "Not promoted: lstm ("),
    ],
)
def test_the_verdict_of_a_retrain_has_decision_figures_and_reason(
    promoted: bool, version: int | None, begins: str
) -> None:
    result = {
        "challenger": "lstm",
        "promoted": promoted,
        "version": version,
        "reason": "3.27% worse.",
        "models": [{"name": "kn5", "test": {}}, {"name": "lstm", "test": TEST}],
    }
    verdict = verdict_of(result)
    assert verdict.startswith(begins)
    for figure in ("0.453", "3.586", "1,679", "3.27%"):
        assert figure in verdict
    assert verdict.endswith("worse.")
