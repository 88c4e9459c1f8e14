"""Canaries: chosen from the training text alone, planted where they should be and nowhere else, the same every time."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from reviewlm.core.config.sections.evaluation import AuditConfig
from reviewlm.corpus.cleaning.clean_table import CLEAN
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.corpus.synthetic.canaries import (
    CANARIES_FILE,
    POOL,
    Canaries,
    as_reviews,
    choose_canaries,
)
from reviewlm.models.base import ModelError
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.vocabularies.learn import learn_vocabulary

SYLLABLES = [a + b + c for a in "bdfgklmn" for b in "aeiou" for c in "rst"]
REVIEWS = 1_200


class ManyCanaries(AuditConfig):
    max_canary_share: ClassVar = 0.02


CONFIG = ManyCanaries(canaries=6, copies=(1, 3))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Reviews of 120 words of their own, in three splits; of those for training most have 4 stars."""
    folder, random = tmp_path_factory.mktemp("clean"), np.random.default_rng(0)
    texts = [
        " ".join(random.choice(SYLLABLES, 12)).capitalize() + f" x{i}! Ünder 12 of it."
        for i in range(REVIEWS)
    ]
    splits = ["test"] * 60 + ["validation"] * 40 + ["train"] * (REVIEWS - 100)
    stars = [1] * 100 + [4 if i % 3 else 2 for i in range(REVIEWS - 100)]
    rows = pl.DataFrame(
        {
            "review_id": [f"r{i:04d}" for i in range(REVIEWS)],
            "text": texts,
            "stars": stars,
        }
    )
    table = as_reviews(rows, 0).with_columns(
        rows["stars"].cast(pl.Int8), pl.Series("split", splits)
    )
    missing = [
        pl.lit(None, kind).alias(name) for name, kind in CLEAN.items() if name not in table.columns
    ]
    table.with_columns(missing).select(*CLEAN).write_parquet(
        folder / "clean.parquet", row_group_size=200
    )
    return folder


def train_rows(clean, batch_rows=10_000):
    return list(iter_split(clean, "train", batch_rows))


def test_a_canary_is_frequent_words_of_the_training_text(clean):
    canaries = choose_canaries(clean, CONFIG)
    text = Counter(" ".join(pl.concat(train_rows(clean))["text"]).split(" "))
    assert len(canaries.texts) == len({*canaries.texts}) == 6
    used = {word for canary in canaries.texts for word in canary.split(" ")}
    assert used <= {*canaries.words} <= {*SYLLABLES}
    assert canaries.words == tuple(sorted(canaries.words, key=lambda word: (-text[word], word)))
    assert len(canaries.words) == len(SYLLABLES) < POOL


def test_a_canary_has_the_commonest_rating(clean):
    canaries = choose_canaries(clean, CONFIG)
    assert (canaries.copies, canaries.stars, canaries.length) == ((1, 3, 1, 3, 1, 3), 4, 5)


@pytest.mark.parametrize("batch_rows", [17, 10_000])
def test_however_the_reviews_are_cut_each_canary_stands_as_often_as_planned_among_them(
    clean, batch_rows
):
    canaries = choose_canaries(clean, CONFIG)
    planted = pl.concat(canaries.plant(train_rows(clean, batch_rows)))
    reviews = pl.concat(train_rows(clean))
    added = planted.filter(pl.col("review_id").str.starts_with("canary-"))
    assert planted.filter(~pl.col("review_id").str.starts_with("canary-")).equals(reviews)
    assert Counter(added["text"]) == dict(zip(canaries.texts, canaries.copies, strict=True))
    assert added["review_id"].n_unique() == added.height == 12
    assert (added["bytes"] == added["text"].str.len_bytes() + 1).all()
    assert set(added["stars"]) == {4}
    assert planted.equals(pl.concat(canaries.plant([reviews])))


@pytest.mark.parametrize("unit", ["word", "bpe", "unigram", "char"])
def test_every_vocabulary_gives_a_canary_back(
    clean,
    unit,
    tmp_path,
):
    canaries, form = choose_canaries(clean, CONFIG), NormalForm()
    texts = (text for batch in train_rows(clean) for text in batch["text"])
    vocabulary = learn_vocabulary(
        texts,
        VocabularySpec(
            unit=unit,
            size=500,
            min_count=10,
        ),
        form,
    )
    write_stream(tmp_path, vocabulary, canaries.plant(train_rows(clean)))
    stream = TokenStream.open(tmp_path)
    rows = stream.documents.with_row_index().filter(pl.col("review_id").str.starts_with("canary-"))
    assert rows.height == 12
    assert rows["oov"].sum() == 0
    written = {vocabulary.decode(stream.document(row)).strip().lower() for row in rows["index"]}
    assert written == {*canaries.texts} == {form.apply(text) for text in canaries.texts}


@pytest.mark.parametrize(
    ("config", "why"),
    [({"canaries": 3, "copies": (60,)}, "too few for"), ({"canaries": 0}, "none was requested")],
)
def test_where_there_is_no_room_nothing_is_planted(
    clean,
    config,
    why,
    caplog,
):
    canaries = choose_canaries(clean, AuditConfig(**config))
    assert canaries.texts == ()
    assert why in canaries.facts()["why_none"]
    assert why in caplog.text
    assert pl.concat(canaries.plant(train_rows(clean))).equals(pl.concat(train_rows(clean)))


def test_what_was_planted_is_read_back(clean, tmp_path):
    canaries = choose_canaries(clean, CONFIG)
    canaries.save(tmp_path)
    assert Canaries.load(tmp_path) == canaries
    (tmp_path / CANARIES_FILE).write_text('{"words": []}')
    with pytest.raises(ModelError, match=r"canaries in .* cannot be read"):
        Canaries.load(tmp_path)
