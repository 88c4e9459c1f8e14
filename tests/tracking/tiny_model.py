"""A real model that is fitted in a moment, for what must open and answer."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from reviewlm.models.bundles.bundle import save_bundle
from reviewlm.models.specs import NGramSpec, VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.vocabularies.learn import learn_vocabulary

TEXTS = [
    f"The {food} {verb} {taste} and the staff was friendly."
    for food in ("pizza", "soup", "burger")
    for taste in ("good", "cold", "great")
    for verb in ("was", "is")
]


def fitted(
    folder: Path,
    order: int = 2,
    reviews: pl.DataFrame | None = None,
) -> Path:
    """Fit an n-gram model of eighteen reviews, or of given ones, and return its bundle's folder."""
    if reviews is None:
        reviews = pl.DataFrame({"review_id": [str(i) for i in range(len(TEXTS))], "text": TEXTS})
        reviews = reviews.with_columns(
            stars=pl.lit(5, pl.Int8), bytes=pl.col("text").str.len_bytes() + 1
        )
    texts = reviews["text"].to_list()
    vocabulary = learn_vocabulary(texts, VocabularySpec(min_count=1), NormalForm())
    write_stream(folder / "stream", vocabulary, [reviews])
    stream, spec = TokenStream.open(folder / "stream"), NGramSpec(name=f"kn{order}", order=order)
    model = fit_model(
        spec,
        vocabulary,
        stream,
        stream,
        FitContext(folder),
    ).model
    save_bundle(
        folder / "bundle",
        spec,
        vocabulary,
        model,
        [(text, 5) for text in texts[:3]],
        {},
    )
    return folder / "bundle"
