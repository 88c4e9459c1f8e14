"""The comparison with KenLM finds differences where there are some; the run itself needs KenLM's programs."""

from __future__ import annotations

import gzip
import json
import math
import os
from pathlib import Path

import pytest

from benchmarks.models.ngram_parity import BIN, _difference, compare, write_texts
from models.ngram.lines.text_files import fit_text

GOLDEN = Path(__file__).parents[2] / "models" / "ngram" / "data"


def test_reviews_become_lines_of_words_and_every_tenth_is_held_out(tmp_path: Path) -> None:
    texts = ["It's GOOD, really.\nYes!", *[f"number {n}" for n in range(2, 21)]]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps({"stars": 5, "text": text}) + "\n" for text in texts))
    train, held_out = write_texts(tmp_path / "r.jsonl", tmp_path / "texts")
    assert train.read_text().splitlines()[:2] == ["it's good , really . yes !", "number 2"]
    assert held_out.read_text() == "number 10\nnumber 20\n"


def test_differences_are_found(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.arpa"
    theirs.write_bytes(gzip.decompress((GOLDEN / "train.3.arpa.gz").read_bytes()))
    fit_text(GOLDEN / "train.txt", 3, arpa=tmp_path / "ours.arpa")
    (probability, weight), same = _difference(tmp_path / "ours.arpa", theirs)
    assert same
    assert max(probability, weight) < 1e-6
    fit_text(GOLDEN / "train.txt", 3, arpa=tmp_path / "ours.arpa", smoothing="kneser_ney")
    (probability, _), same = _difference(tmp_path / "ours.arpa", theirs)
    assert same
    assert probability > 1e-3
    fit_text(GOLDEN / "train.txt", 3, (0, 0, 1), arpa=tmp_path / "ours.arpa")
    assert _difference(tmp_path / "ours.arpa", theirs) == ((math.inf, math.inf), False)


@pytest.mark.skipif(BIN not in os.environ, reason=f"{BIN} is not set")
@pytest.mark.parametrize("prune", ["", "0 1 2"])
def test_a_model_is_lmplz_s_and_scores_as_query_does(prune: str) -> None:
    row = compare(GOLDEN / "train.txt", GOLDEN / "held_out.txt", 3, prune, Path(os.environ[BIN]))
    assert (row["same"], row["OOV"]) == ("yes", row["OOV of query"])
    assert max(row["max Δ log10 p"], row["max Δ back-off"]) < 1e-6
    assert max(row["relative Δ"], row["relative Δ, without OOV"]) < 1e-6
