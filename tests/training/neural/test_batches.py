"""The windows of truncated back-propagation: what is covered, in which order, of which length."""

import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.specs import TrainingSpec
from models.streams import unigram_counts
from models.tokens.special import BOS, CONTEXT_IDS, EOS
from tests.examples import examples
from tests.models.neural.made_streams import stream_of, walks
from training.neural.batches import LONGER, ReviewBatches, TBPTTBatches, count_updates, make_batches, window_lengths

V = 20
STREAM = walks(50, V, 3, length=6)
KINDS = [TBPTTBatches, ReviewBatches]
SHAPES = [(1, 1), (1, 1000), (4, 5), (7, 3), (60, 2), (1000, 4)]


def reads_and_targets(batches, epoch):
    """All that the lanes read in an epoch, lane by lane, and what follows."""
    windows = list(batches.epoch(epoch))
    return np.concatenate([w.x_BT for w in windows], 1), np.concatenate([w.y_BT for w in windows], 1)


# --- what is covered


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch", "window"), SHAPES)
def test_every_scored_token_is_a_target_exactly_once(kind, batch, window, random):
    batches = kind(STREAM, batch, window, 1, random)
    for epoch in range(2):
        windows = list(batches.epoch(epoch))
        assert [w.index for w in windows] == list(range(batches.windows(epoch + 1)[epoch]))
        assert {w.of for w in windows} == {len(windows)}
        targets = np.concatenate([w.y_BT[w.y_BT >= 0] for w in windows])
        assert np.bincount(targets, minlength=V).tolist() == unigram_counts(STREAM, V).tolist()
        for w in windows:
            assert w.x_BT.shape == w.y_BT.shape
            assert len(w.x_BT) == batch
            assert random or w.x_BT.shape[1] == window
            assert w.x_BT.dtype == w.y_BT.dtype == np.int64
            assert not np.isin(w.y_BT, sorted(CONTEXT_IDS)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_stream_has_no_windows(kind):
    stream = stream_of([[9]], V)
    stream.ids, stream.offsets = stream.ids[:0], stream.offsets[:1]
    batches = kind(stream, 4, 5, 1)
    assert list(batches.epoch(0)) == []
    assert batches.windows(2).tolist() == [0, 0]


@pytest.mark.parametrize("chunk", [1, 30, 1 << 22])
@pytest.mark.parametrize(("batch", "window"), [(1, 1), (4, 5), (7, 3), (60, 2), (3, 1000)])
def test_windows_are_those_of_the_whole_epoch_written_out(batch, window, chunk, monkeypatch):
    monkeypatch.setattr("training.neural.batches.CHUNK", chunk)
    order = np.random.default_rng([9, 2]).permutation(len(STREAM))
    lane = -(-(len(STREAM.ids) - 1) // batch)
    epoch = np.full(lane * batch + 1, BOS)
    epoch[: len(STREAM.ids)] = np.concatenate([STREAM.document(i) for i in order])
    targets = np.where(np.isin(epoch, sorted(CONTEXT_IDS)), -1, epoch)[1:].reshape(batch, lane)
    for w in TBPTTBatches(STREAM, batch, window, seed=9).epoch(2):
        here = slice(w.index * window, min((w.index + 1) * window, lane))
        width = here.stop - here.start
        assert (w.x_BT[:, :width] == epoch[:-1].reshape(batch, lane)[:, here]).all()
        assert (w.y_BT[:, :width] == targets[:, here]).all()
        assert (w.x_BT[:, width:] == BOS).all()
        assert (w.y_BT[:, width:] == -1).all()


def test_lanes_read_whole_reviews_in_a_row_and_targets_follow():
    x_BL, y_BL = reads_and_targets(TBPTTBatches(STREAM, 3, 4, seed=5), 2)
    lane = -(-(len(STREAM.ids) - 1) // 3)
    # What follows within a lane is the next thing that it reads, windows notwithstanding.
    follows, reads = y_BL[:, : lane - 1], x_BL[:, 1:lane]
    assert (follows[follows >= 0] == reads[follows >= 0]).all()
    assert (follows >= 0).sum() > 100
    read = np.concatenate([x_BL[b, :lane] for b in range(3)]).tolist()
    reviews = {tuple(STREAM.document(i).tolist()) for i in range(len(STREAM))}
    starts = [i for i, token in enumerate(read) if token == BOS]
    whole = [tuple(read[a:b]) for a, b in pairwise(starts)]
    assert len(whole) >= 49
    assert {review for review in whole if len(review) > 1} <= reviews


@pytest.mark.parametrize(("batch", "window"), [(1, 4), (3, 7), (5, 1000), (80, 6)])
def test_lanes_of_whole_reviews_cut_none_and_waste_less_than_one_review_each(batch, window):
    x_BL, y_BL = reads_and_targets(ReviewBatches(STREAM, batch, window, seed=5), 1)
    longest = int(np.diff(STREAM.offsets).max()) - 1
    seen = []
    for read, follows in zip(x_BL.tolist(), y_BL.tolist(), strict=True):
        starts = [i for i, (token, after) in enumerate(pairwise(read)) if token == BOS and after != BOS]
        used = follows.index(EOS, starts[-1]) + 1 if starts else 0
        assert set(follows[used:]) <= {-1}
        assert used >= (len(STREAM.ids) - len(STREAM)) / batch - longest
        for begin, end in pairwise([*starts, used]):
            assert follows[begin:end] == [-1, *read[begin + 2 : end], EOS]
            seen.append([*read[begin:end], EOS])
        # No position stands between two reviews, so all but two tokens of a review are read and scored.
        assert sum(token == EOS for token in read) == 0
    assert sorted(seen) == sorted(STREAM.document(i).tolist() for i in range(len(STREAM)))


# --- order and resume


@pytest.mark.parametrize("kind", KINDS)
def test_every_epoch_has_its_own_order_and_every_seed_its_own(kind):
    def read(seed, n):
        return reads_and_targets(kind(STREAM, 2, 6, seed), n)[1].ravel().tolist()

    assert read(1, 0) == read(1, 0)
    assert read(1, 0) != read(1, 1)
    assert read(1, 0) != read(2, 0)


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_goes_on_from_any_window(kind, random):
    whole = list(kind(STREAM, 4, 6, 3, random).epoch(1))
    for start in (1, 6, len(whole)):
        rest = list(kind(STREAM, 4, 6, 3, random).epoch(1, start))
        assert [w.index for w in rest] == [w.index for w in whole[start:]]
        for found, expected in zip(rest, whole[start:], strict=True):
            assert np.array_equal(found.x_BT, expected.x_BT)
            assert np.array_equal(found.y_BT, expected.y_BT)


@examples(40)
@given(
    st.sampled_from(KINDS), st.integers(1, 30), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.booleans()
)
def test_how_much_is_read_at_a_time_changes_nothing(kind, count, batch, window, chunk, random):
    stream = walks(count, V, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.neural.batches.CHUNK", chunk)
        small = reads_and_targets(kind(stream, batch, window, 1, random), 0)
    large = reads_and_targets(kind(stream, batch, window, 1, random), 0)
    assert all(np.array_equal(a, b) for a, b in zip(small, large, strict=True))


# --- length of windows


def expected_length(window):
    """Of a normal number, rounded and kept within bounds: summed over all lengths that can come out."""
    low, high = min(5, window), window + LONGER
    lengths = np.arange(low, high + 1)
    mean = 0.0
    for share, centre in ((0.95, window), (0.05, window / 2)):
        edges = np.concatenate([[-np.inf], lengths[:-1] + 0.5, [np.inf]])
        mean += share * float((lengths * np.diff(stats.norm(centre, 5).cdf(edges))).sum())
    return mean


@pytest.mark.parametrize("window", [2, 10, 35, 70])
def test_random_windows_have_the_expected_length_and_stay_within_bounds(window):
    lengths = window_lengths(window, 200_000, np.random.default_rng(0))
    assert lengths.min() >= min(5, window)
    assert lengths.max() <= window + LONGER
    error = lengths.std() / np.sqrt(len(lengths))
    assert lengths.mean() == pytest.approx(expected_length(window), abs=4 * error)
    if window >= 35:  # the bounds play no part: 0.95 w + 0.05 w / 2
        assert expected_length(window) == pytest.approx(0.975 * window, abs=0.02)


def test_half_of_the_window_is_meant_five_times_in_a_hundred():
    lengths = window_lengths(100, 100_000, np.random.default_rng(1))
    assert (lengths < 75).mean() == pytest.approx(0.05, abs=0.003)
    assert lengths[lengths < 75].mean() == pytest.approx(50, abs=0.4)
    assert lengths[lengths >= 75].std() == pytest.approx(5, rel=0.02)


def test_windows_of_random_length_differ_from_epoch_to_epoch():
    stream = walks(200, V, 3)
    batches = TBPTTBatches(stream, 2, 20, 1, random_window=True)
    first, second = ([w.x_BT.shape[1] for w in batches.epoch(n)] for n in range(2))
    assert len(set(first)) > 5
    assert first != second
    assert [len(first), len(second)] == batches.windows(2).tolist()


@pytest.mark.parametrize(("windows", "epochs", "expected"), [
    ([7, 7], 1.7, 12), ([5, 5, 5], 2.1, 10), ([4], 0.01, 1), ([4], 1, 4), ([4, 8], 2, 12), ([4, 8], 1.5, 8),
    ([4, 8, 6], 2.5, 15),
])
def test_updates_are_the_windows_of_whole_epochs_and_a_part_of_the_last(windows, epochs, expected):
    assert count_updates(np.array(windows), epochs) == expected


def test_the_recipe_says_which_windows_are_cut():
    assert type(make_batches(STREAM, TrainingSpec())) is TBPTTBatches
    assert type(make_batches(STREAM, TrainingSpec(stateful=False))) is ReviewBatches
    random = make_batches(STREAM, TrainingSpec(random_window=True, batch=2, bptt_len=20))
    assert len({w.x_BT.shape for w in random.epoch(0)}) > 1


# --- ahead of use


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_windows_that_a_thread_reads_ahead_are_the_same(monkeypatch, kind, random):
    monkeypatch.setattr("training.neural.batches.CHUNK", 48)  # 12 positions of each lane
    for start in (0, 5):
        plain, ahead = (list(kind(STREAM, 4, 6, 3, random).epoch(1, start, ahead)) for ahead in (False, True))
        assert len({id(window.piece_BL) for window in ahead}) > 2
        assert [w.index for w in ahead] == [w.index for w in plain]
        for one, other in zip(ahead, plain, strict=True):
            assert one.x_BT.tolist() == other.x_BT.tolist()
            assert one.y_BT.tolist() == other.y_BT.tolist()


def test_one_piece_is_read_ahead_and_the_thread_ends_with_the_windows(monkeypatch):
    """The second piece is read while the first is used; the third only when the second is asked for."""
    monkeypatch.setattr("training.neural.batches.CHUNK", 24)
    made, read, reads, second = TBPTTBatches(STREAM, 4, 6, 3), TBPTTBatches._read, [], threading.Event()

    def seen(*given):
        reads.append(threading.current_thread().name)
        if len(reads) == 2:
            second.set()
        return read(*given)

    monkeypatch.setattr(TBPTTBatches, "_read", seen)
    windows = made.epoch(0, ahead=True)
    next(windows)
    assert second.wait(60)
    assert len(reads) == 2
    assert all(name.startswith("batches") for name in reads)
    windows.close()
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())
    assert len(reads) == 2


def test_an_error_of_the_thread_is_raised_where_its_windows_would_come(monkeypatch):
    monkeypatch.setattr("training.neural.batches.CHUNK", 24)
    made, read, reads = TBPTTBatches(STREAM, 4, 6, 3), TBPTTBatches._read, []

    def failing(*given):
        reads.append(given)
        if len(reads) == 2:
            raise OSError(5, "Input/output error")
        return read(*given)

    monkeypatch.setattr(TBPTTBatches, "_read", failing)
    windows = made.epoch(0, ahead=True)
    assert next(windows).index == 0
    with pytest.raises(OSError, match="Input/output error"):
        next(windows)
