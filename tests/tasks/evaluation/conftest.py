"""Two small models and a token stream, for works in processes of their own."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from models.bundles.bundle import save_bundle
from models.specs import NGramSpec, VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from training.context import FitContext
from training.fit import fit_model
from training.vocabularies.learn import learn_vocabulary

TEXTS = [f"The {food} was {word}." for food in ("soup", "bread", "tea") for word in ("good", "bad", "cold", "fine")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two bundles and a token stream."""
    folder = tmp_path_factory.mktemp("made")
    vocabulary = learn_vocabulary(TEXTS, VocabularySpec(min_count=1), NormalForm())
    frame = pl.DataFrame(
        {"review_id": [f"r{n}" for n in range(len(TEXTS))], "text": TEXTS, "stars": [5] * len(TEXTS),
         "bytes": [len(text) + 1 for text in TEXTS], "words": [4] * len(TEXTS)}
    )  # fmt: skip
    write_stream(folder / "tokens", vocabulary, [frame])
    stream = TokenStream.open(folder / "tokens")
    for order in (2, 3):
        spec = NGramSpec(order=order, name=f"kn{order}")
        model = fit_model(spec, vocabulary, stream, stream, FitContext(folder / "work")).model
        save_bundle(folder / spec.name, spec, vocabulary, model, [("The tea was good.", 5)], {})
    return folder / "kn2", folder / "kn3", folder / "tokens"
