"""The benchmark of odd reviews: the curvature in closed form, and what is planted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.data.odd_reviews import curvature, planted, stream_of
from models.predictions import Predictions
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary

TEXTS = ["tea tea tea tea tea tea tea tea", "tea", "tea cake"]


class Halves:
    """Expects "tea" in half of all cases, the end and "cake" in a quarter each, whatever it has read."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.logp_V = np.full(vocabulary.size, -np.inf, np.float32)
        for text, share in (("tea", 0.5), ("cake", 0.25)):
            self.logp_V[vocabulary.encode(text)[0]] = np.log(share)
        self.logp_V[2] = np.log(0.25)

    def predictions(self, ids_BT: np.ndarray, wanted_BT: np.ndarray) -> Iterator[Predictions]:
        text_N, position_N = np.nonzero(wanted_BT)
        yield Predictions(text_N, position_N, np.tile(self.logp_V, (len(text_N), 1)))


@pytest.fixture(scope="module")
def reviews() -> pl.DataFrame:
    return pl.DataFrame(
        {"review_id": list("abc"), "text": TEXTS, "stars": [5] * 3, "bytes": [len(text) + 1 for text in TEXTS],
         "words": [len(text.split()) for text in TEXTS]}
    )  # fmt: skip


def test_the_curvature_is_the_excess_of_entropy_in_standard_deviations(reviews: pl.DataFrame, tmp_path: Path) -> None:
    vocabulary = Vocabulary.train(TEXTS, VocabularySpec(min_count=1), NormalForm())
    model = Halves(vocabulary)
    bundle: Any = SimpleNamespace(model=model, vocabulary=vocabulary)
    # In bits: entropy 1.5, variance 0.25 a token; "tea" costs 1, "cake" and the end 2 each.
    tokens, costs = np.array([9, 2, 3]), np.array([8 + 2, 1 + 2, 1 + 2 + 2])
    expected = (1.5 * tokens - costs) / np.sqrt(0.25 * tokens)
    found = curvature(bundle, stream_of(vocabulary, reviews, tmp_path / "tokens"))
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_shuffled_reviews_keep_their_words_and_foreign_ones_are_all_different(
    reviews: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.data.odd_reviews.generate", lambda bundle, n, *args, **kwargs: [""] * n)
    bundle: Any = None
    found = planted(bundle, reviews, 3, seed=1)
    for before, after in zip(TEXTS, found["shuffled"]["text"], strict=True):
        assert sorted(before.split()) == sorted(after.split())
    assert found["foreign"]["text"].n_unique() == 3
    assert found["generated, t = 1"]["bytes"].to_list() == [2] * 3  # an empty text is one of nothing but a full stop
    assert found["foreign"]["bytes"][0] == len(found["foreign"]["text"][0].encode()) + 1
