"""The race of single sentences: what a sentence is, and sides that must agree."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.models import ngram_sentences
from benchmarks.models.ngram_sentences import OURS, TIMED, race
from benchmarks.models.ngram_text import sentences
from models.ngram.lines.text_files import fit_text

DATA = Path(__file__).parents[2] / "models/ngram/data"


def side(model: Path, opened: str = OURS) -> list[str]:
    return [sys.executable, "-c", opened + TIMED, str(model)]


def test_a_sentence_ends_with_its_mark_or_its_line(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("we came . it was good !!! so ...\nwhy ?\na.m. or not\nmore\n")
    assert sentences(tmp_path / "lines", tmp_path / "sentences", 5) == (5, 2.8)
    expected = ["we came .", "it was good !!!", "so ...", "why ?", "a.m. or not"]
    assert (tmp_path / "sentences").read_text().splitlines() == expected


@pytest.mark.long
def test_both_sides_score_the_same_sentences_and_must_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram_sentences, "PASSES", 1)
    for order in (2, 3):
        fit_text(DATA / "train.txt", order, binary=tmp_path / str(order))
    rows, ratios = race({"ours": side(tmp_path / "3"), "same": side(tmp_path / "3")}, DATA / "held_out.txt", 1)
    assert rows["ours"]["log10"] == rows["same"]["log10"] < 0
    assert all(row[f"{what}_us"] > 0 for row in rows.values() for what in ("score", "full_scores"))
    assert set(ratios) == {"ngram_sentences.score", "ngram_sentences.full_scores"}
    score = ratios["ngram_sentences.score"]
    assert score.value == pytest.approx(rows["same"]["score_us"] / rows["ours"]["score_us"], rel=0.01)
    with pytest.raises(SystemExit, match="log10 p of all sentences"):
        race({"ours": side(tmp_path / "3"), "other": side(tmp_path / "2")}, DATA / "held_out.txt", 1)
