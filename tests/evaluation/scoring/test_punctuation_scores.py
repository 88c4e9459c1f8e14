"""Precision, recall and F1 of restored marks are those of counting by hand."""

from __future__ import annotations

import pytest

from evaluation.scoring.punctuation import CAPITALS, CLASSES, MARKS_TOGETHER, scored
from models.tagging.written_words import taken_off

OPTIONS = {"confidence": 0.95, "resamples": 200, "seed": 1}


def tags(*texts: str) -> list[list[int]]:
    return [taken_off(text).tags for text in texts]


def test_counts_by_hand() -> None:
    right = tags("So good, we said. Why?", "Fine.")
    said = tags("so good, we, said. why.", "Fine.")
    rows = {row["class"]: row for row in scored({"a": said, "b": right}, right, "b", **OPTIONS) if row["model"] == "a"}
    assert (rows["comma"]["precision"], rows["comma"]["recall"]) == (1 / 2, 1.0)
    assert rows["comma"]["f1"] == pytest.approx(2 / 3)
    assert (rows["full stop"]["precision"], rows["full stop"]["recall"]) == (2 / 3, 1.0)
    assert (rows["question mark"]["precision"], rows["question mark"]["recall"]) == (None, 0.0)
    assert rows["question mark"]["f1"] == 0.0
    assert rows[MARKS_TOGETHER]["written"] == 4
    assert (rows[MARKS_TOGETHER]["precision"], rows[MARKS_TOGETHER]["recall"]) == (3 / 5, 3 / 4)
    assert (rows[CAPITALS]["precision"], rows[CAPITALS]["recall"]) == (1.0, 1 / 3)


def test_what_was_never_written_has_no_figure() -> None:
    right = tags("so good", "fine")
    for row in scored({"a": right, "b": right}, right, "b", **OPTIONS):
        assert row["written"] == 0
        assert (row["precision"], row["recall"], row["f1"], row["f1_lo"]) == (None, None, None, None)


def test_equal_answers_have_no_gain_and_the_baseline_has_none() -> None:
    right = tags(*["So good, we said. Why?"] * 5, *["Fine."] * 5)
    said = tags(*["so good we said. why?"] * 5, *["fine"] * 5)
    rows = scored({"a": said, "b": said}, right, "b", **OPTIONS)
    assert [row["class"] for row in rows] == [*CLASSES, *CLASSES]
    for row in rows:
        if row["model"] == "a" and row["f1"] is not None and row["gain"] is not None:
            assert (row["gain"], row["gain_lo"], row["gain_hi"]) == (0.0, 0.0, 0.0)
        if row["model"] == "b":
            assert row["gain"] is None
    [marks] = [row for row in rows if row["model"] == "a" and row["class"] == MARKS_TOGETHER]
    assert marks["f1_lo"] < marks["f1"] < marks["f1_hi"]
