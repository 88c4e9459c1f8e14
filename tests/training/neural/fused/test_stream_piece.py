"""Windows cut on a GPU from a piece of the token stream that is there: the same ids, in fewer bits and copies."""

import numpy as np
import pytest
import torch

from tests.models.neural.made_streams import stream_of
from training.neural import batches
from training.neural.batches import StreamPiece, TBPTTBatches

GPU = torch.device("cuda", 0)
BATCH, WINDOW, WHOLE = 4, 5, slice(0, 4)


def epoch_of(largest, dtype, **options):
    """The windows of a stream with ids up to *largest*."""
    draw = np.random.default_rng(1)
    stream = stream_of([[*draw.integers(9, 30, 20), largest - size] for size in range(8)], largest + 1)
    stream.ids = stream.ids.astype(dtype) if largest < 1 << 16 else np.where(stream.ids == 2, 2, largest).astype(dtype)
    return list(TBPTTBatches(stream, BATCH, WINDOW, seed=1, **options).epoch(0))


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("largest", "dtype"),
    [(40, np.uint16), (32_767, np.uint16), (32_768 + 7, np.uint16), (65_535, np.uint16), (70_000, np.uint32)],
)
@pytest.mark.parametrize("options", [{}, {"random_window": True}], ids=["equal", "random"])
def test_the_ids_are_those_of_the_window(largest, dtype, options):
    piece, found = StreamPiece(WHOLE, GPU), []
    for window in epoch_of(largest, dtype, **options):
        ids_BT = piece.window(window)
        assert ids_BT.dtype == torch.int64
        assert ids_BT.is_contiguous()
        assert ids_BT.cpu().numpy().tolist() == window.x_BT.tolist()
        found.append(int(window.x_BT.max()))
    assert max(found) == largest


@pytest.mark.gpu
def test_a_new_piece_takes_the_place_of_the_one_before(monkeypatch):
    monkeypatch.setattr(batches, "CHUNK", 2 * BATCH * WINDOW)
    windows = epoch_of(40, np.uint16)
    assert len({id(window.piece_BL) for window in windows}) > 2
    piece = StreamPiece(WHOLE, GPU)
    for window in [*windows, windows[0]]:
        assert piece.window(window).cpu().numpy().tolist() == window.x_BT.tolist()


@pytest.mark.parametrize(("largest", "operators"), [(32_767, 1), (65_535, 2)])
def test_after_the_first_window_nothing_is_copied_and_the_host_never_waits(counts, largest, operators):
    """The piece has two bytes for each id, so it is a quarter of what its windows would be."""
    piece = StreamPiece(WHOLE, GPU)
    for number, window in enumerate(epoch_of(largest, np.uint16)):
        counts.clear()
        piece.window(window)
        assert not counts.waits
        assert counts.operators["copy to the GPU"] == (number == 0)
        assert sum(counts.operators.values()) == operators + (number == 0)
    assert piece._there_BL.element_size() == 2
