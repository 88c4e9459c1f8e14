"""A home with an n-gram model and a network that were fitted on a few random texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from core.store import Store
from models.bundles.bundle import save_bundle
from models.neural.recurrent import RecurrentLM
from models.ngram.counting.counts import count_ngrams
from models.ngram.lm import NGramLM
from models.specs import NGramSpec, ObjectiveSpec, RecurrentSpec, VocabularySpec, identity
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import CONTEXT_IDS, Vocabulary

TEXT = "the food was good and the waiters near the table were very friendly today is a good day back we will be"
RNN = RecurrentSpec(kind="rnn", name="rnn", nonlinearity="relu", hidden=8, embedding=8, objective=ObjectiveSpec(head=5))
KN = NGramSpec(name="kn", order=2)
PRESET = """
baseline = "kn"
[[models]]
kind = "ngram"
name = "kn"
order = 2
[[models]]
kind = "rnn"
name = "rnn"
nonlinearity = "relu"
hidden = 8
embedding = 8
[models.objective]
head = 5
"""


def drawn_texts() -> list[str]:
    """Return twelve texts of 60 words."""
    draw = np.random.default_rng(1)
    return [" ".join(draw.choice(TEXT.split(), 60)) for _ in range(12)]


def fill_home(home: Path, texts: list[str]) -> None:
    """Write two fits of the preset above, their tokens, and the preset itself into a home."""
    vocabulary = Vocabulary.train(texts, VocabularySpec(min_count=1), NormalForm())
    store, frame = Store(home / "store"), pl.DataFrame({"review_id": [f"r{i}" for i in range(12)], "text": texts})
    frame = frame.with_columns(stars=pl.lit(5, pl.Int8), bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1)
    tokens = {
        split: store.build(
            "tokens", 1, {"split": split}, {"vocabulary": vocabulary.digest, "clean": "reviews"},
            lambda work: write_stream(work, vocabulary, [frame]),
        ).artifact
        for split in ("train", "validation", "test")
    }  # fmt: skip
    stream = TokenStream.open(tokens["train"].folder)
    torch.manual_seed(1)
    network = RecurrentLM.build(RNN, torch.ones(vocabulary.size, dtype=torch.int64))
    models: list[tuple[Any, Any]] = [
        (KN, NGramLM.from_counts(count_ngrams(stream, 2, vocabulary.size, CONTEXT_IDS))),
        (RNN, RecurrentLM(RNN, network, vocabulary.size)),
    ]
    inputs = {split: tokens[split].digest for split in ("train", "validation")}
    for spec, model in models:
        digest = Store.digest("fit", 1, identity(spec), inputs)

        def make(work: Path, spec: Any = spec, model: Any = model, digest: str = digest) -> dict[str, Any]:
            save_bundle(work / "bundle", spec, vocabulary, model, [(texts[0], 5)], {"fit_digest": digest})
            return {"name": spec.name, "kind": spec.kind, "summary": {"tokens_per_second": 1234.0}}

        store.build("fit", 1, identity(spec), inputs, make)
    (home / "preset.toml").write_text(PRESET)


def bundles_in(home: Path) -> dict[str, Path]:
    """The bundles of the store by the kind of their model."""
    found = [path.parent for path in home.glob("store/fit/*/bundle/spec.json")]
    return {json.loads((path / "spec.json").read_text())["kind"]: path for path in found}
