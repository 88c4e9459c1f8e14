"""Fitting word vectors: synonyms come near each other, the same settings give the same bytes."""

import numpy as np
import polars as pl
import pytest

from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.vectors.vector_fit import fit_vectors
from reviewlm.training.vocabularies.learn import learn_vocabulary

OPTIONS = {
    "kind": "skipgram",
    "negatives": 5,
    "dimensions": 16,
    "window": 3,
    "epochs": 80,
    "min_count": 1,
    "seed": 1,
}
"""Many epochs, since gensim leaves out most of words as frequent as these."""
MEANINGS = 15


def reviews(count, seed):
    """Return reviews of a walk over meanings; each meaning is written by one of two words, chosen by a coin."""
    draw = np.random.default_rng(seed)
    following = np.random.default_rng(4).permuted(
        np.tile(np.arange(MEANINGS), (MEANINGS, 1)), axis=1
    )[:, :3]
    texts = []
    for _ in range(count):
        meaning, words = int(draw.integers(MEANINGS)), []
        for _ in range(30):
            words.append(f"{'ab'[draw.integers(2)]}{chr(97 + meaning)}")
            meaning = int(following[meaning, draw.integers(3)])
        texts.append(" ".join(words))
    return texts


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    train = reviews(300, 1)
    vocabulary = learn_vocabulary(train, VocabularySpec(size=1_000, min_count=1), NormalForm())
    return vocabulary, stream(vocabulary, train, tmp_path_factory.mktemp("tokens"))


def stream(vocabulary, texts, folder):
    ids = [str(number) for number in range(len(texts))]
    table = pl.DataFrame(
        {"review_id": ids, "text": texts, "stars": 5, "bytes": 1},
        schema_overrides={"stars": pl.Int8},
    )
    write_stream(
        folder,
        vocabulary,
        [table.with_columns(bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1)],
    )
    return TokenStream.open(folder)


@pytest.mark.parametrize("negatives", [5, 0])
@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_words_of_one_meaning_are_nearest_to_each_other(kind, negatives, text):
    vectors = fit_vectors(*text, **{**OPTIONS, "kind": kind, "negatives": negatives})
    letters = [chr(97 + meaning) for meaning in range(MEANINGS)]
    nearest = [vectors.most_similar(f"a{letter}", topn=1)[0][0] for letter in letters]
    assert (
        np.mean([word == f"b{letter}" for word, letter in zip(nearest, letters, strict=True)]) > 0.8
    )


def test_one_thread_gives_the_same_bytes_and_another_seed_gives_others(text):
    one, again, other = (
        fit_vectors(*text, **{**OPTIONS, "epochs": 1, "seed": seed}) for seed in (1, 1, 2)
    )
    assert one.vectors.tobytes() == again.vectors.tobytes()
    assert one.vectors.tobytes() != other.vectors.tobytes()


def test_words_come_by_falling_count_without_rare_and_special_ones(text):
    vocabulary, train = text
    told = []
    vectors = fit_vectors(
        vocabulary, train, **{**OPTIONS, "epochs": 2, "min_count": 300}, report=told.append
    )
    counts = vectors.expandos["count"].tolist()
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 300
    assert len(counts) < 2 * MEANINGS
    assert all(word[0] in "ab" for word in vectors.index_to_key)
    assert told == [1, 2]
