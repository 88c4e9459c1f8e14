"""The benchmark of word vectors: twins are the same word at random, and the figures of quality are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import benchmarks.models.vectors as benchmark
from models.tokens.words import FIRST
from models.vectors.training import select


def test_twins_share_the_occurrences_of_a_word_and_nothing_else_changes() -> None:
    text = benchmark.made_text(100_000, seed=1)
    found, twins = benchmark.with_twins(text)
    renamed = found.ids != text.ids
    assert len(twins) > 50
    for word, twin in twins[:20]:
        assert (found.ids[renamed & (text.ids == word)] == twin).all()
        assert 0.3 < (found.ids == twin).sum() / (text.ids == word).sum() < 0.7
    assert set(np.unique(text.ids[renamed])) <= set(twins[:, 0])


@pytest.mark.parametrize(("near", "first", "rank"), [
    pytest.param([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], 1.0, 1.0, id="twins-are-nearest"),
    pytest.param([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], 0.0, 0.5, id="twins-are-second"),
])  # fmt: skip
def test_the_quality_of_twins_is_their_rank_among_all_words(near: list[list[float]], first: float, rank: float) -> None:
    ids = np.array([9] * 4 + [10] * 3 + [11] * 2 + [12], np.uint32)
    stream = benchmark.stream_of(ids, np.array([0, len(ids)]), FIRST + 4)
    selection, v = select(stream, 1), np.array(near, np.float32)
    found = benchmark.quality((v, v), selection, np.array([[9, 10], [11, 12]]), stream, exact=False)
    assert (found["twins_first"], found["twins_mrr"]) == (first, pytest.approx(rank, abs=0.1))


def test_the_text_for_the_peer_has_the_same_words(tmp_path: Path) -> None:
    text = benchmark.first_reviews(benchmark.made_text(1_000, seed=1), 500)
    benchmark.write_text(text, tmp_path / "text.txt")
    lines = (tmp_path / "text.txt").read_text(encoding="utf-8").splitlines()
    assert [list(map(int, line.split())) for line in lines] == text.ids.reshape(5, 100).tolist()
