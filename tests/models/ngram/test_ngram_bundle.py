"""From text to a saved bundle and back: real vocabulary, real token stream, the common sampler."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models.bundles.bundle import load_bundle, save_bundle
from models.ngram.measure import score_chunks
from models.sampling import generate, suggest
from models.specs import NGramSpec, VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from training.context import FitContext
from training.fit import fit_model

DISHES = ["soup", "bread", "tea", "cake", "salad", "rice"]
TEXTS = [f"The {dish} was {word}. We {deed} the {dish} here." for dish in DISHES for word in ("good", "cold")
         for deed in ("like", "order", "miss")] * 4  # fmt: skip


@pytest.fixture(scope="module", params=["word", "char"])
def pieces(request, tmp_path_factory):
    """Return (vocabulary, training stream, validation stream)."""
    vocabulary = Vocabulary.train(TEXTS, VocabularySpec(unit=request.param, min_count=1), NormalForm())
    folder, streams = tmp_path_factory.mktemp("streams"), []
    for name, texts in (("train", TEXTS), ("validation", ["The soup was warm. We like it.", "We order tea."])):
        frame = pl.DataFrame({"review_id": [f"{name}{i}" for i in range(len(texts))], "text": texts})
        frame = frame.with_columns(stars=pl.int_range(pl.len()) % 6, bytes=pl.col("text").str.len_bytes() + 1)
        write_stream(folder / name, vocabulary, [frame])
        streams.append(TokenStream.open(folder / name))
    return vocabulary, *streams


def test_a_fitted_model_survives_the_bundle_and_writes_and_suggests(pieces, tmp_path):
    vocabulary, train, validation = pieces
    spec = NGramSpec(order=4)
    result = fit_model(spec, vocabulary, train, validation, FitContext(work=tmp_path / "work"))
    assert result.summary["tokens"] == train.tokens
    assert result.summary["validation/tokens"] == validation.tokens
    save_bundle(tmp_path / "bundle", spec, vocabulary, result.model, [("The cake was good.", 5), ("zebra", 0)], {})
    bundle = load_bundle(tmp_path / "bundle")
    whole = np.concatenate(list(score_chunks(result.model, validation.ids)))
    first = whole[: validation.offsets[1]].sum()
    assert bundle.score_text("The soup was warm. We like it.", 0).nats == pytest.approx(first, rel=1e-12)
    texts = generate(bundle, n=4, stars=5, seed=3)
    assert texts == generate(bundle, n=4, stars=5, seed=3)
    assert all(text and "<" not in text for text in texts)
    found = suggest(bundle, "The soup was", k=2, stars=4)
    assert sum(p for _, p in found.words) + found.rest == pytest.approx(1, abs=1e-6)
    assert {word for word, _ in found.words} == {"good", "cold"}
