"""Token streams on disk: what is written, what is refused, what the header says."""

import json

import numpy as np
import polars as pl
import pytest

from reviewlm.models.base import ModelError
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import TokenStream, unigram_counts, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS, EOS, STARS
from reviewlm.training.vocabularies.learn import learn_vocabulary

WORDS = ["soup", "pizza", "staff", "great", "bad", "the", "was", "zebra"]


def frame(
    count,
    seed=0,
    longest=12,
):
    draw = np.random.default_rng(seed)
    texts = [" ".join(draw.choice(WORDS, draw.integers(1, longest))) for _ in range(count)]
    stars = [None if i == 0 else int(draw.integers(0, 6)) for i in range(count)]
    made = pl.DataFrame(
        {
            "review_id": [f"r{i}" for i in range(count)],
            "text": texts,
            "stars": stars,
        }
    )
    return made.with_columns(
        pl.col("stars").cast(pl.Int8), bytes=pl.col("text").str.len_bytes() + 1
    )


@pytest.fixture(scope="module")
def vocabulary():
    spec = VocabularySpec(
        unit="word",
        size=16,
        min_count=1,
    )  # one word does not fit
    return learn_vocabulary([" ".join(WORDS), " ".join(WORDS[:7])], spec, NormalForm())


@pytest.fixture(scope="module")
def written(vocabulary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    reviews = frame(50)
    return folder, reviews, write_stream(folder, vocabulary, reviews.iter_slices(7))


def test_a_stream_holds_each_review_as_the_vocabulary_encodes_it(written, vocabulary):
    folder, reviews, facts = written
    stream = TokenStream.open(folder, verify=True)
    assert len(stream) == 50 == facts["documents"]
    for i, (text, stars) in enumerate(reviews.select("text", "stars").iter_rows()):
        assert stream.document(i).tolist() == [
            BOS,
            STARS[stars or 0],
            *vocabulary.encode(text),
            EOS,
        ]


@pytest.mark.parametrize("name", ["ids.bin", "offsets.npy", "documents.parquet"])
def test_one_changed_byte_is_detected(
    name,
    vocabulary,
    tmp_path,
):
    write_stream(tmp_path, vocabulary, [frame(20)])
    raw = bytearray((tmp_path / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(raw))
    with pytest.raises(ModelError, match=f"{name} has changed since it was written") as caught:
        TokenStream.open(tmp_path, verify=True)
    assert caught.value.kind == "input"


def authors_of(
    users,
    vocabulary,
    folder,
):
    """Return the numbers of the authors in a stream of reviews, which is written two reviews at a time."""
    reviews = frame(len(users)).with_columns(user_id=pl.Series(users, dtype=pl.String))
    write_stream(folder, vocabulary, reviews.iter_slices(2))
    return TokenStream.open(folder, verify=True).authors.tolist()


def test_reviews_of_one_person_have_one_number(vocabulary, tmp_path):
    users = ["ann", "cid", "bob", "ann", "eve", "bob", "dan"]
    assert authors_of(users, vocabulary, tmp_path) == [0, 1, 2, 0, 3, 2, 4]


def test_each_unknown_author_has_a_number_of_its_own(vocabulary, tmp_path):
    users = ["ann", None, "bob", "ann", None, "bob", "cid"]
    assert authors_of(users, vocabulary, tmp_path) == [0, 1, 2, 0, 3, 2, 4]


def test_a_stream_without_user_ids_has_no_authors(vocabulary, tmp_path):
    unknown = frame(3).with_columns(user_id=pl.lit(None, pl.String))
    for reviews in (frame(3), unknown):
        write_stream(tmp_path, vocabulary, [reviews])
        assert TokenStream.open(tmp_path, verify=True).authors is None


def test_an_interrupted_write_is_no_stream(vocabulary, tmp_path):
    write_stream(tmp_path, vocabulary, [frame(20)])

    def broken():
        yield frame(3)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_stream(tmp_path, vocabulary, broken())
    with pytest.raises(ModelError, match=r"stream\.json"):
        TokenStream.open(tmp_path)
    write_stream(tmp_path, vocabulary, [frame(5)])
    assert len(TokenStream.open(tmp_path, verify=True).documents) == 5


def test_another_vocabulary_is_refused_with_both_digests(written, vocabulary):
    stream = TokenStream.open(written[0])
    stream.require(vocabulary)
    other = learn_vocabulary([" ".join(WORDS)], VocabularySpec(size=17, min_count=1), NormalForm())
    with pytest.raises(ModelError) as caught:
        stream.require(other)
    assert caught.value.kind == "input"
    assert vocabulary.digest in str(caught.value)
    assert other.digest in str(caught.value)


def test_another_boundary_policy_is_refused_with_both_policies(vocabulary, tmp_path):
    write_stream(tmp_path, vocabulary, [frame(3)])
    header = json.loads((tmp_path / "stream.json").read_text())
    assert header["boundary_policy"] == vocabulary.boundary_policy
    (tmp_path / "stream.json").write_text(
        json.dumps({**header, "boundary_policy": "one line each"})
    )
    with pytest.raises(ModelError, match=r"one line each.*review: <bos>"):
        TokenStream.open(tmp_path).require(vocabulary)


def test_unigram_counts_leave_given_tokens_out(written, vocabulary):
    stream = TokenStream.open(written[0])
    counts = unigram_counts(stream, vocabulary.size)
    assert counts.dtype == np.int64
    assert counts.sum() == stream.tokens
    assert counts[EOS] == len(stream)
    assert all(counts[i] == 0 for i in CONTEXT_IDS)
    assert counts[9] == sum((document == 9).sum() for document in map(stream.document, range(50)))
