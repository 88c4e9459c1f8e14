"""The end of a run in one sentence: decision, figures, reason."""

from __future__ import annotations

import pytest

from reviewlm.tasks.records.run_summary import end_of_part, verdict_of

TEST = {
    "open_bits_per_byte": 0.4531,
    "perplexity": 3.5862,
    "reviews": 1679,
}


@pytest.mark.parametrize(
    ("promoted", "version", "begins"),
    [
        (True, 3, "Promoted lstm as version 3 ("),
        (False, 3, "Not promoted: lstm as version 3 ("),
        (False, None, "Not promoted: lstm ("),
    ],
)
def test_the_verdict_of_a_retrain_says_why(
    promoted: bool,
    version: int | None,
    begins: str,
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


def test_the_verdict_about_a_classifier_has_its_own_figures() -> None:
    test = {
        "macro_f1": 0.5173,
        "accuracy": 0.6214,
        "reviews": 1679,
    }
    verdict = verdict_of(
        {
            "challenger": "bag",
            "promoted": True,
            "version": 2,
            "reason": "first model",
            "models": [{"name": "bag", "test": test}],
        }
    )
    for figure in ("51.7%", "62.1%", "1,679"):
        assert figure in verdict


@pytest.mark.parametrize(
    ("until", "said"),
    [("prepare", ("2,000",)), ("train", ("kn5", "lstm")), ("evaluate", ("lstm", "0.453", "1,679"))],
)
def test_the_end_of_a_part_says_what_came_out(until: str, said: tuple[str, ...]) -> None:
    other = {**TEST, "open_bits_per_byte": 0.6}
    result = {
        "splits": {"train": {"reviews": 1600}, "test": {"reviews": 400}},
        "models": [{"name": "kn5", "test": other}, {"name": "lstm", "test": TEST}],
    }
    sentence = end_of_part(result, until)
    for figure in said:
        assert figure in sentence
