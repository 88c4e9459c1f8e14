"""The windows of truncated back-propagation: what is covered, in which order, of which length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.streams import unigram_counts
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS
from reviewlm.training.neural.batches import ReviewBatches, TBPTTBatches
from tests.examples import examples
from tests.models.neural.made_streams import walks

V = 20
STREAM = walks(50, V, 3, length=6)
KINDS = [TBPTTBatches, ReviewBatches]
SHAPES = [(1, 1), (1, 1000), (4, 5), (7, 3), (60, 2), (1000, 4)]


def reads_and_targets(batches, epoch):
    """All that the lanes read in an epoch, lane by lane, and what follows."""
    windows = list(batches.epoch(epoch))
    return np.concatenate([w.x_BT for w in windows], 1), np.concatenate(
        [w.y_BT for w in windows], 1
    )


# --- what is covered


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("batch", "window"), SHAPES)
def test_every_scored_token_is_a_target_exactly_once(
    kind,
    batch,
    window,
    random,
):
    batches = kind(
        STREAM,
        batch,
        window,
        1,
        random,
    )
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


@pytest.mark.parametrize("chunk", [1, 30, 1 << 22])
@pytest.mark.parametrize(("batch", "window"), [(1, 1), (4, 5), (7, 3), (60, 2), (3, 1000)])
def test_windows_are_those_of_the_whole_epoch_written_out(
    batch,
    window,
    chunk,
    monkeypatch,
):
    monkeypatch.setattr("reviewlm.training.neural.batches.CHUNK", chunk)
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


# --- order and resume


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_goes_on_from_any_window(kind, random):
    whole = list(
        kind(
            STREAM,
            4,
            6,
            3,
            random,
        ).epoch(1)
    )
    for start in (1, 6, len(whole)):
        rest = list(
            kind(
                STREAM,
                4,
                6,
                3,
                random,
            ).epoch(1, start)
        )
        assert [w.index for w in rest] == [w.index for w in whole[start:]]
        for found, expected in zip(rest, whole[start:], strict=True):
            assert np.array_equal(found.x_BT, expected.x_BT)
            assert np.array_equal(found.y_BT, expected.y_BT)


@examples(40)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 30),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 40),
    st.booleans(),
)
def test_how_much_is_read_at_a_time_changes_nothing(
    kind,
    count,
    batch,
    window,
    chunk,
    random,
):
    stream = walks(count, V, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reviewlm.training.neural.batches.CHUNK", chunk)
        small = reads_and_targets(
            kind(
                stream,
                batch,
                window,
                1,
                random,
            ),
            0,
        )
    large = reads_and_targets(
        kind(
            stream,
            batch,
            window,
            1,
            random,
        ),
        0,
    )
    assert all(np.array_equal(a, b) for a, b in zip(small, large, strict=True))
