"""Fitting word vectors: synonyms come near each other, the same settings give the same bytes, held-out words rank."""

import numpy as np
import polars as pl
import pytest
from gensim.models import Word2Vec

from models.specs import VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from training.vectors.vector_fit import SEED, ReviewWords, fit_vectors, ranked_share
from training.vocabularies.learn import learn_vocabulary

OPTIONS = {"kind": "skipgram", "negatives": 5, "dimensions": 16, "window": 3, "epochs": 80, "min_count": 1, "seed": 1}
"""Many epochs, since gensim leaves out most of words as frequent as these."""
MEANINGS = 15


def reviews(count, seed):
    """Return reviews of a walk over meanings; each meaning is written by one of two words, chosen by a coin."""
    draw = np.random.default_rng(seed)
    following = np.random.default_rng(4).permuted(np.tile(np.arange(MEANINGS), (MEANINGS, 1)), axis=1)[:, :3]
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
    train, held = reviews(300, 1), reviews(40, 2)
    vocabulary = learn_vocabulary(train, VocabularySpec(size=1_000, min_count=1), NormalForm())
    return vocabulary, *(stream(vocabulary, texts, tmp_path_factory.mktemp("tokens")) for texts in (train, held))


def stream(vocabulary, texts, folder):
    ids = [str(number) for number in range(len(texts))]
    table = pl.DataFrame({"review_id": ids, "text": texts, "stars": 5, "bytes": 1}, schema_overrides={"stars": pl.Int8})
    write_stream(folder, vocabulary, [table.with_columns(bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1)])
    return TokenStream.open(folder)


@pytest.mark.parametrize("negatives", [5, 0])
@pytest.mark.parametrize("kind", ["skipgram", "cbow"])
def test_words_of_one_meaning_are_nearest_to_each_other_and_held_out_words_are_ranked(kind, negatives, text):
    fitted = fit_vectors(*text, **{**OPTIONS, "kind": kind, "negatives": negatives})
    letters = [chr(97 + meaning) for meaning in range(MEANINGS)]
    nearest = [fitted.vectors.most_similar(f"a{letter}", topn=1)[0][0] for letter in letters]
    assert np.mean([word == f"b{letter}" for word, letter in zip(nearest, letters, strict=True)]) > 0.8
    assert fitted.ranked > 0.56, "a held-out word is told from a noise word"


def test_one_thread_gives_the_same_bytes_and_another_seed_gives_others(text):
    one, again, other = (fit_vectors(*text, **{**OPTIONS, "epochs": 1, "seed": seed}) for seed in (1, 1, 2))
    assert one.vectors.vectors.tobytes() == again.vectors.vectors.tobytes()
    assert one.ranked == again.ranked
    assert one.vectors.vectors.tobytes() != other.vectors.vectors.tobytes()


def test_words_come_by_falling_count_without_rare_and_special_ones(text):
    vocabulary, train, held = text
    told = []
    fitted = fit_vectors(vocabulary, train, held, **{**OPTIONS, "epochs": 2, "min_count": 300}, report=told.append)
    counts = fitted.vectors.expandos["count"].tolist()
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 300
    assert len(counts) < 2 * MEANINGS
    assert all(word[0] in "ab" for word in fitted.vectors.index_to_key)
    assert told == [1, 2]


@pytest.mark.parametrize("negatives", [1, 0])
def test_the_ranked_share_is_that_of_scores_written_out(negatives, text):
    """Every window by hand: p(w | h) in the tree by a walk over its codes, u · h with noise words."""
    vocabulary, _, held = text
    model = Word2Vec(sg=1, hs=not negatives, negative=negatives, vector_size=4, window=2, min_count=1, seed=3)
    words = ReviewWords(held, [vocabulary.token(token) for token in range(vocabulary.size)])
    model.build_vocab(words)
    draw = np.random.default_rng(5)
    outer = model.syn1 if not negatives else model.syn1neg
    model.wv.vectors[:], outer[:] = draw.normal(size=model.wv.vectors.shape), draw.normal(size=outer.shape)

    def score(word, hidden):
        if negatives:
            return float(outer[model.wv.key_to_index[word]] @ hidden)
        points, codes = (model.wv.get_vecattr(word, name) for name in ("point", "code"))
        return sum(-np.log1p(np.exp((2.0 * code - 1) * (outer[point] @ hidden)))
                   for point, code in zip(points, codes, strict=True))  # fmt: skip

    places = [(review, place) for review in words for place in range(len(review))]
    counts = np.array([model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key]) ** 0.75
    noise = np.random.default_rng(SEED).choice(len(counts), len(places), p=counts / counts.sum())
    right = []
    for (review, place), number in zip(places, noise, strict=True):
        around = review[max(0, place - 2) : place] + review[place + 1 : place + 3]
        other = model.wv.index_to_key[number]
        if around and other != review[place]:
            hidden = np.mean([model.wv[word] for word in around], axis=0, dtype=np.float64)
            right.append(score(review[place], hidden) > score(other, hidden))
    ranked, windows = ranked_share(model, words)
    assert windows == len(right)
    assert ranked == pytest.approx(np.mean(right), abs=1e-12)
