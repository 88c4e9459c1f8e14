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


def stream(
    vocabulary,
    texts,
    folder,
):
    ids = [str(number) for number in range(len(texts))]
    table = pl.DataFrame(
        {
            "review_id": ids,
            "text": texts,
            "stars": 5,
            "bytes": 1,
        },
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
def test_words_of_one_meaning_are_nearest_to_each_other(
    kind,
    negatives,
    text,
):
    vectors = fit_vectors(
        *text,
        **{
            **OPTIONS,
            "kind": kind,
            "negatives": negatives,
        },
    )
    letters = [chr(97 + meaning) for meaning in range(MEANINGS)]
    nearest = [vectors.most_similar(f"a{letter}", topn=1)[0][0] for letter in letters]
    assert (
        np.mean([word == f"b{letter}" for word, letter in zip(nearest, letters, strict=True)]) > 0.8
    )


@pytest.fixture(scope="module")
def seeded(text):
    """Fit vectors with a seed and one thread, to be compared with other fits."""
    return fit_vectors(
        *text,
        **{
            **OPTIONS,
            "epochs": 1,
            "seed": 1,
        },
    )


def test_one_thread_gives_the_same_bytes_again(text, seeded):
    again = fit_vectors(
        *text,
        **{
            **OPTIONS,
            "epochs": 1,
            "seed": 1,
        },
    )

    assert again.vectors.tobytes() == seeded.vectors.tobytes()


def test_another_seed_gives_other_vectors(text, seeded):
    other = fit_vectors(
        *text,
        **{
            **OPTIONS,
            "epochs": 1,
            "seed": 2,
        },
    )

    assert other.vectors.tobytes() != seeded.vectors.tobytes()


@pytest.fixture(scope="module")
def reported():
    """Hold the epochs that the fit without rare words reported."""
    return []


@pytest.fixture(scope="module")
def frequent(text, reported):
    """Fit vectors of the words that come 300 times or more."""
    options = {
        **OPTIONS,
        "epochs": 2,
        "min_count": 300,
    }
    return fit_vectors(*text, **options, report=reported.append)


def test_words_come_by_falling_count(frequent):
    counts = frequent.expandos["count"].tolist()

    assert counts == sorted(counts, reverse=True)


def test_rare_words_have_no_vector(frequent):
    counts = frequent.expandos["count"].tolist()

    assert min(counts) >= 300
    assert len(counts) < 2 * MEANINGS


def test_special_words_have_no_vector(frequent):
    assert all(word[0] in "ab" for word in frequent.index_to_key)


def test_a_fit_reports_every_epoch(frequent, reported):
    assert reported == [1, 2]
