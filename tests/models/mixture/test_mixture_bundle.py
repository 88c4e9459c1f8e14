"""Mixtures from options to bundles: what is refused, what is kept, and that nothing else is needed to open them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.base import ModelError
from models.bundles.bundle import load_bundle, save_bundle
from models.mixture.lm import MixtureLM
from models.sampling import generate, suggest
from models.specs import MixtureSpec, NGramSpec, VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from training.context import FitContext
from training.fit import fit_model

TEXTS = ["The soup was great. We went back.", "The tea was cold, and we left.", "The cake was good."] * 8


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A vocabulary, two streams and the bundles of a bigram and a trigram model."""
    folder = tmp_path_factory.mktemp("mixture")
    vocabulary = Vocabulary.train(TEXTS, VocabularySpec(min_count=1), NormalForm())
    streams = []
    for name, texts in (("train", TEXTS), ("validation", ["The soup was cold. We left.", "The cake was great, and."])):
        frame = pl.DataFrame({"review_id": [f"{name}{i}" for i in range(len(texts))], "text": texts})
        frame = frame.with_columns(stars=pl.int_range(pl.len()) % 6, bytes=pl.col("text").str.len_bytes() + 1)
        write_stream(folder / name, vocabulary, [frame])
        streams.append(TokenStream.open(folder / name))
    bundles = {}
    for order in (2, 3):
        spec, bundles[f"kn{order}"] = NGramSpec(name=f"kn{order}", order=order), folder / f"kn{order}"
        model = fit_model(spec, vocabulary, *streams, FitContext(folder / "work")).model
        save_bundle(bundles[f"kn{order}"], spec, vocabulary, model, [("The tea was good.", 4)], {})
    return vocabulary, streams, bundles


@pytest.mark.parametrize("method", ["linear", "gated"])
def test_a_bundle_holds_all_its_parts_and_writes_and_suggests_when_theirs_are_gone(method, fitted, tmp_path):
    vocabulary, streams, originals = fitted
    bundles = {name: Path(shutil.copytree(folder, tmp_path / "parts" / name)) for name, folder in originals.items()}
    spec = MixtureSpec(parts=("kn2", "kn3"), method=method)
    model = fit_model(spec, vocabulary, *streams, FitContext(tmp_path / "work", parts=bundles)).model
    assert (tmp_path / "work" / "metrics.jsonl").read_text().count("\n") == 1
    save_bundle(tmp_path / "bundle", spec, vocabulary, model, [("The tea was good.", 4), ("zebra", 0)], {})
    ids = np.array([streams[1].document(0)], np.int64)
    expected_1T, _ = model.score(ids, model.start(1))
    shutil.rmtree(tmp_path / "parts")
    (moved := tmp_path / "elsewhere").mkdir()
    bundle = load_bundle((tmp_path / "bundle").rename(moved / "bundle"))
    assert [(part.name, part.spec.order) for part in bundle.model.parts] == [("kn2", 2), ("kn3", 3)]
    assert bundle.model.score(ids, bundle.model.start(1))[0].tolist() == expected_1T.tolist()
    assert generate(bundle, n=3, stars=5, seed=3) == generate(bundle, n=3, stars=5, seed=3)
    words = suggest(bundle, "The soup was", k=3).words
    assert sum(probability for _, probability in words) <= 1.0
    assert "great" in [word for word, _ in words]


def test_a_part_with_another_vocabulary_is_refused(fitted, tmp_path):
    bundles = fitted[2]
    other = Vocabulary.train(["Other words altogether."], VocabularySpec(min_count=1), NormalForm())
    frame = pl.DataFrame({"review_id": ["a"], "text": ["words"], "stars": [1], "bytes": [6]})
    write_stream(tmp_path / "s", other, [frame])
    stream = TokenStream.open(tmp_path / "s")
    with pytest.raises(ModelError, match="'kn2' has another vocabulary"):
        fit_model(MixtureSpec(parts=("kn2", "kn3")), other, stream, stream, FitContext(tmp_path, parts=bundles))


@pytest.mark.parametrize("damage", ["{", '{"format": 9}', "[]"])
def test_damaged_weights_are_reported(damage, tmp_path):
    (tmp_path / "mixture.json").write_text(damage)
    with pytest.raises(ModelError, match=r"mixture\.json"):
        MixtureLM.load(tmp_path, MixtureSpec(parts=("a", "b")), None)  # type: ignore[arg-type]
