"""Token streams on disk and the windows of truncated back-propagation through time."""

import json
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import ModelError
from models.specs import VocabularySpec
from models.streams import TBPTTBatches, TokenStream, stars_prior, unigram_counts, write_stream
from models.text import NormalForm
from models.vocabulary import BOS, EOS, GIVEN, STARS, Vocabulary

WORDS = ["soup", "pizza", "staff", "great", "bad", "the", "was", "zebra"]


def frame(count, seed=0, longest=12):
    draw = np.random.default_rng(seed)
    texts = [" ".join(draw.choice(WORDS, draw.integers(1, longest))) for _ in range(count)]
    stars = [None if i == 0 else int(draw.integers(0, 6)) for i in range(count)]
    made = pl.DataFrame({"review_id": [f"r{i}" for i in range(count)], "text": texts, "stars": stars})
    return made.with_columns(pl.col("stars").cast(pl.Int8), bytes=pl.col("text").str.len_bytes() + 1)


@pytest.fixture(scope="module")
def vocabulary():
    spec = VocabularySpec(unit="word", size=16, min_count=1)  # one word does not fit
    return Vocabulary.train([" ".join(WORDS), " ".join(WORDS[:7])], spec, NormalForm())


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
        assert stream.document(i).tolist() == [BOS, STARS[stars or 0], *vocabulary.encode(text), EOS]


def test_the_facts_add_up(written, vocabulary):
    folder, reviews, facts = written
    stream = TokenStream.open(folder)
    rows = stream.documents
    assert rows.columns == ["review_id", "stars", "bytes", "words", "tokens", "oov", "spelling_nats"]
    assert rows["review_id"].to_list() == reviews["review_id"].to_list()
    assert rows["stars"].to_list() == reviews["stars"].fill_null(0).to_list()
    assert rows["words"].to_list() == [len(text.split()) for text in reviews["text"]]
    assert rows["tokens"].to_list() == [len(vocabulary.encode(text)) + 1 for text in reviews["text"]]
    assert rows["oov"].to_list() == [int((vocabulary.encode(text) == 0).sum()) for text in reviews["text"]]
    assert (rows["spelling_nats"] > 0).to_list() == (rows["oov"] > 0).to_list()
    assert rows["oov"].sum() > 0
    for name in ("tokens", "bytes", "words", "oov"):
        assert facts[name] == rows[name].sum()
    assert stream.tokens == facts["tokens"]
    assert facts == json.loads((folder / "stream.json").read_text())


def test_nothing_is_left_but_the_four_files(written):
    names = sorted(path.name for path in written[0].iterdir())
    assert names == ["documents.parquet", "ids.bin", "offsets.npy", "stream.json"]


def test_the_size_of_a_batch_changes_no_byte(written, vocabulary, tmp_path):
    folder, reviews, facts = written
    assert write_stream(tmp_path, vocabulary, [reviews])["sha256"]["ids.bin"] == facts["sha256"]["ids.bin"]
    assert (tmp_path / "offsets.npy").read_bytes() == (folder / "offsets.npy").read_bytes()
    assert pl.read_parquet(tmp_path / "documents.parquet").equals(pl.read_parquet(folder / "documents.parquet"))


def test_small_vocabularies_take_two_bytes_a_token_and_large_ones_four(written, vocabulary, tmp_path):
    folder, reviews, facts = written
    assert TokenStream.open(folder).ids.dtype == np.uint16
    assert (folder / "ids.bin").stat().st_size == 2 * facts["ids"]
    words = [f"w{i}" for i in range(70_000)]
    large = Vocabulary.train([" ".join(words)], VocabularySpec(size=80_000, min_count=1), NormalForm())
    one = reviews.head(1).with_columns(text=pl.lit(large.token(large.size - 1)))
    write_stream(tmp_path, large, [one])
    stream = TokenStream.open(tmp_path)
    assert stream.ids.dtype == np.uint32
    assert stream.document(0)[2] == large.size - 1 > 65_536


def test_reviews_are_mapped_not_read(written):
    stream = TokenStream.open(written[0])
    assert isinstance(stream.ids, np.memmap)
    assert isinstance(stream.offsets, np.memmap)
    assert np.shares_memory(stream.document(3), stream.ids)


def test_an_empty_split_is_a_stream_too(vocabulary, tmp_path):
    facts = write_stream(tmp_path, vocabulary, [])
    stream = TokenStream.open(tmp_path, verify=True)
    assert (len(stream), stream.tokens, facts["bytes"]) == (0, 0, 0)
    assert stream.documents.columns[0] == "review_id"
    assert list(TBPTTBatches(stream, 4, 5, 1).epoch(0)) == []
    assert unigram_counts(stream, vocabulary.size).sum() == 0


@pytest.mark.parametrize("name", ["ids.bin", "offsets.npy", "documents.parquet"])
def test_one_changed_byte_is_detected(name, vocabulary, tmp_path):
    write_stream(tmp_path, vocabulary, [frame(20)])
    raw = bytearray((tmp_path / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(raw))
    with pytest.raises(ModelError, match=f"{name} has changed since it was written") as caught:
        TokenStream.open(tmp_path, verify=True)
    assert caught.value.kind == "input"


def test_a_cut_off_file_is_detected_at_once(vocabulary, tmp_path):
    write_stream(tmp_path, vocabulary, [frame(20)])
    (tmp_path / "ids.bin").write_bytes((tmp_path / "ids.bin").read_bytes()[:-2])
    with pytest.raises(ModelError, match=r"ids\.bin holds"):
        TokenStream.open(tmp_path)


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
    other = Vocabulary.train([" ".join(WORDS)], VocabularySpec(size=17, min_count=1), NormalForm())
    with pytest.raises(ModelError) as caught:
        stream.require(other)
    assert caught.value.kind == "input"
    assert vocabulary.digest in str(caught.value)
    assert other.digest in str(caught.value)


def test_another_boundary_policy_is_refused_with_both_policies(vocabulary, tmp_path):
    write_stream(tmp_path, vocabulary, [frame(3)])
    header = json.loads((tmp_path / "stream.json").read_text())
    assert header["boundary_policy"] == vocabulary.boundary_policy
    (tmp_path / "stream.json").write_text(json.dumps({**header, "boundary_policy": "one line each"}))
    with pytest.raises(ModelError, match=r"one line each.*review: <bos>"):
        TokenStream.open(tmp_path).require(vocabulary)


def test_unigram_counts_leave_given_tokens_out(written, vocabulary):
    stream = TokenStream.open(written[0])
    counts = unigram_counts(stream, vocabulary.size)
    assert counts.dtype == np.int64
    assert counts.sum() == stream.tokens
    assert counts[EOS] == len(stream)
    assert all(counts[i] == 0 for i in GIVEN)
    assert counts[9] == sum((document == 9).sum() for document in map(stream.document, range(50)))


def test_the_prior_of_ratings_is_their_share(written):
    stream = TokenStream.open(written[0])
    expected = [stream.documents.filter(pl.col("stars") == k).height / 50 for k in range(6)]
    assert stars_prior(stream) == pytest.approx(expected)


# Windows


@pytest.mark.parametrize(("batch", "window"), [(1, 1), (1, 1000), (4, 5), (7, 3), (60, 2), (1000, 4)])
def test_every_scored_token_is_a_target_exactly_once(written, vocabulary, batch, window):
    stream = TokenStream.open(written[0])
    batches = TBPTTBatches(stream, batch, window, seed=1)
    windows = list(batches.epoch(0))
    assert [w.index for w in windows] == list(range(batches.windows_per_epoch))
    assert {w.of for w in windows} == {batches.windows_per_epoch}
    targets = np.concatenate([w.y_BT[w.y_BT >= 0] for w in windows])
    counts = np.bincount(targets, minlength=vocabulary.size)
    # A lane may end after a star token or in mid-review: nothing is lost there either.
    assert counts.tolist() == unigram_counts(stream, vocabulary.size).tolist()
    for w in windows:
        assert w.x_BT.shape == w.y_BT.shape == (batch, window)
        assert w.x_BT.dtype == w.y_BT.dtype == np.int64
        assert not np.isin(w.y_BT, sorted(GIVEN)).any()


@pytest.mark.parametrize("chunk", [1, 30, 1 << 22])
@pytest.mark.parametrize(("batch", "window"), [(1, 1), (4, 5), (7, 3), (60, 2), (3, 1000)])
def test_windows_are_those_of_the_whole_epoch_written_out(written, batch, window, chunk, monkeypatch):
    monkeypatch.setattr("models.streams.CHUNK", chunk)
    stream = TokenStream.open(written[0])
    order = np.random.default_rng([9, 2]).permutation(len(stream))
    lane = -(-(len(stream.ids) - 1) // batch)
    epoch = np.full(lane * batch + 1, BOS)
    epoch[: len(stream.ids)] = np.concatenate([stream.document(i) for i in order])
    targets = np.where(np.isin(epoch, sorted(GIVEN)), -1, epoch)[1:].reshape(batch, lane)
    for w in TBPTTBatches(stream, batch, window, seed=9).epoch(2):
        here = slice(w.index * window, min((w.index + 1) * window, lane))
        width = here.stop - here.start
        assert (w.x_BT[:, :width] == epoch[:-1].reshape(batch, lane)[:, here]).all()
        assert (w.y_BT[:, :width] == targets[:, here]).all()
        assert (w.x_BT[:, width:] == BOS).all()
        assert (w.y_BT[:, width:] == -1).all()


def test_words_are_those_that_the_batch_counts(vocabulary, tmp_path):
    facts = write_stream(tmp_path, vocabulary, [frame(4).with_columns(words=pl.Series([2, 2, 2, 4]))])
    assert facts["words"] == 10
    assert facts["fertility"] == pytest.approx((facts["tokens"] - 4) / 10)


def test_facts_say_how_much_of_the_text_the_vocabulary_covers(written):
    _, _, facts = written
    assert facts["oov_share"] == pytest.approx(facts["oov"] / (facts["tokens"] - 50), abs=1e-6)
    assert facts["coverage"] == pytest.approx(1 - facts["oov_share"])
    assert 0 < facts["oov_share"] < 0.3


def test_long_texts_are_encoded_in_slices(vocabulary, written, tmp_path, monkeypatch):
    monkeypatch.setattr("models.streams.BATCH_BYTES", 100)
    assert write_stream(tmp_path, vocabulary, [frame(50)])["sha256"]["ids.bin"] == written[2]["sha256"]["ids.bin"]


def test_lanes_read_whole_reviews_in_a_row_and_targets_follow(written):
    stream = TokenStream.open(written[0])
    windows = list(TBPTTBatches(stream, 3, 4, seed=5).epoch(2))
    x_BL = np.concatenate([w.x_BT for w in windows], 1)
    y_BL = np.concatenate([w.y_BT for w in windows], 1)
    lane = -(-(len(stream.ids) - 1) // 3)
    # What follows within a lane is the next thing that it reads, windows notwithstanding.
    follows, reads = y_BL[:, : lane - 1], x_BL[:, 1:lane]
    assert (follows[follows >= 0] == reads[follows >= 0]).all()
    assert (follows >= 0).sum() > 100
    read = np.concatenate([x_BL[b, :lane] for b in range(3)]).tolist()
    reviews = {tuple(stream.document(i).tolist()) for i in range(len(stream))}
    starts = [i for i, token in enumerate(read) if token == BOS]
    whole = [tuple(read[a:b]) for a, b in pairwise(starts)]
    assert len(whole) >= 49
    assert {review for review in whole if len(review) > 1} <= reviews


def test_every_epoch_has_its_own_order_and_every_seed_its_own(written):
    stream = TokenStream.open(written[0])

    def read(seed, n):
        return np.concatenate([w.x_BT.ravel() for w in TBPTTBatches(stream, 2, 6, seed).epoch(n)]).tolist()

    assert read(1, 0) == read(1, 0)
    assert read(1, 0) != read(1, 1)
    assert read(1, 0) != read(2, 0)
    assert sorted(read(1, 0)) == sorted(read(1, 1))


def test_an_epoch_goes_on_from_any_window(written):
    stream = TokenStream.open(written[0])
    whole = list(TBPTTBatches(stream, 4, 5, seed=3).epoch(1))
    rest = list(TBPTTBatches(stream, 4, 5, seed=3).epoch(1, start=6))
    assert [w.index for w in rest] == [w.index for w in whole[6:]]
    for found, expected in zip(rest, whole[6:], strict=True):
        assert (found.x_BT == expected.x_BT).all()
        assert (found.y_BT == expected.y_BT).all()
    assert list(TBPTTBatches(stream, 4, 5, seed=3).epoch(1, start=len(whole))) == []


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 30), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40))
def test_shuffling_in_chunks_keeps_every_review(vocabulary, tmp_path_factory, count, batch, window, chunk):
    folder = tmp_path_factory.mktemp("s")
    write_stream(folder, vocabulary, [frame(count, seed=count)] if count else [])
    stream = TokenStream.open(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.streams.CHUNK", chunk)
        small = [w.x_BT for w in TBPTTBatches(stream, batch, window, 1).epoch(0)]
        counts = unigram_counts(stream, vocabulary.size)
    large = [w.x_BT for w in TBPTTBatches(stream, batch, window, 1).epoch(0)]
    assert all((a == b).all() for a, b in zip(small, large, strict=True))
    assert counts.sum() == stream.tokens
