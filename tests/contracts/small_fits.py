"""Options of every registered kind of model and of a reference table, and small fits of them on made-up reviews.

A new kind needs an entry in `models/specs.py` and at least one in `SPECS` here; nothing else.
"""

from __future__ import annotations

import numpy as np
import polars as pl

import reviewlm.models.specs
from reviewlm.models.bundles.bundle import save_bundle
from reviewlm.models.specs import (
    CacheSpec,
    MixtureSpec,
    NeuralCacheSpec,
    NGramSpec,
    NPLMSpec,
    ObjectiveSpec,
    RecurrentSpec,
    TrainingSpec,
    parts_of,
)
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from tests.models.table_lm import TableLM, TableSpec

TRAINING = TrainingSpec(
    epochs=2,
    batch=4,
    bptt_len=12,
    precision="float32",
    evaluations=2,
    learning_rate=1e-2,
)
SOFTMAX, TWO_LEVEL = ObjectiveSpec(output="softmax"), ObjectiveSpec(output="adaptive", head=12)
SMALL = {
    "hidden": 8,
    "embedding": 8,
    "training": TRAINING,
}
SPECS = {
    "table": TableSpec(),
    "ngram-1": NGramSpec(order=1),
    "ngram-3": NGramSpec(order=3),
    "ngram-kn": NGramSpec(order=3, smoothing="kneser_ney"),
    "ngram-add-k": NGramSpec(order=2, smoothing="add_k"),
    "ngram-jm": NGramSpec(order=3, smoothing="jelinek_mercer"),
    "ngram-wb": NGramSpec(order=3, smoothing="witten_bell"),
    "ngram-absolute": NGramSpec(order=3, smoothing="absolute_discounting"),
    "ngram-katz": NGramSpec(order=3, smoothing="katz"),
    "rnn": RecurrentSpec(
        kind="rnn",
        objective=SOFTMAX,
        **SMALL,
    ),
    "gru": RecurrentSpec(
        kind="gru",
        objective=TWO_LEVEL,
        **SMALL,
    ),
    "lstm": RecurrentSpec(
        kind="lstm",
        objective=TWO_LEVEL,
        **SMALL,
    ),
    "lstm-own": RecurrentSpec(
        kind="lstm",
        cells="reference",
        objective=SOFTMAX,
        **{**SMALL, "embedding": 6},
    ),
    "lstm-untied": RecurrentSpec(
        kind="lstm",
        layers=2,
        tied=False,
        objective=SOFTMAX,
        **SMALL,
    ),
    "nplm": NPLMSpec(
        context=2,
        objective=SOFTMAX,
        **SMALL,
    ),
    "nplm-two-level": NPLMSpec(
        context=3,
        direct=False,
        objective=TWO_LEVEL,
        **SMALL,
    ),
    "mixture": MixtureSpec(parts=("ngram-1", "lstm")),
    "mixture-gated": MixtureSpec(parts=("ngram-3", "nplm", "ngram-1"), method="gated"),
    "cache": CacheSpec(
        part="ngram-3",
        order=2,
        window=20,
    ),
    "cache-of-mixture": CacheSpec(
        part="mixture",
        order=3,
        window=25,
    ),
    "neural-cache": NeuralCacheSpec(
        part="lstm",
        thetas=(0.0, 0.5, 2.0),
        windows=(5, 20),
    ),
    "neural-cache-nplm": NeuralCacheSpec(
        part="nplm",
        thetas=(0.3,),
        windows=(25,),
    ),
}
WINDOW = {
    "ngram-1": 0,
    "ngram-3": 2,
    "ngram-kn": 2,
    "nplm": 2,
    "nplm-two-level": 3,
    "table": 1,
}
WINDOW |= {"mixture-gated": 2}
WINDOW |= {
    "ngram-add-k": 1,
    "ngram-jm": 2,
    "ngram-wb": 2,
    "ngram-absolute": 2,
    "ngram-katz": 2,
}
"""How many tokens back a kind with a fixed window looks; the others look back without end."""
QUICK = {"table", "ngram-3", "lstm", "nplm-two-level", "mixture", "cache", "neural-cache"}
"""One of each kind; `make test-all` repeats the two slowest rules with the others."""
NOUNS = ["soup", "pizza", "staff", "taco", "place", "patio", "music", "waiter", "menu", "bread"]
QUALITIES = ["great", "bad", "cold", "slow", "cheap", "fresh", "loud", "warm"]


def reviews(count: int, seed: int) -> pl.DataFrame:
    """Make short texts in which the second half refers back to the first."""
    draw = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        noun, quality = draw.choice(NOUNS), draw.choice(QUALITIES)
        again = (
            f"The {noun} is {quality}."
            if draw.random() < 0.5
            else f"It was not {draw.choice(QUALITIES)}!"
        )
        texts.append(
            f"The {noun} was so {quality}, and I will be back for the {draw.choice(NOUNS)}. {again}"
        )
    stars = draw.integers(0, 6, count)
    frame = pl.DataFrame(
        {
            "review_id": [f"r{seed}-{i}" for i in range(count)],
            "text": texts,
            "stars": stars,
        }
    )
    return frame.with_columns(
        pl.col("stars").cast(pl.Int8), bytes=pl.col("text").str.len_bytes() + 1
    )


def class_of(spec):
    return TableLM if isinstance(spec, TableSpec) else reviewlm.models.specs.model_class(spec.kind)


def fit(
    spec,
    data,
    folder,
):
    vocabulary, train, validation = data
    folder.mkdir(parents=True, exist_ok=True)
    parts = {}
    for part in parts_of(spec):
        parts[part] = folder / part
        model = fit(SPECS[part], data, folder / f"fit-{part}")
        save_bundle(
            parts[part],
            SPECS[part],
            vocabulary,
            model,
            [("The soup was great.", 5)],
            {},
        )
    make = TableLM.fit if isinstance(spec, TableSpec) else fit_model
    return make(
        spec,
        vocabulary,
        train,
        validation,
        FitContext(folder, parts=parts),
    ).model
