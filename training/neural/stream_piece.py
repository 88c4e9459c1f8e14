"""Keep the piece of a token stream that windows are cut from on a GPU, as ids of 16 bits where the stream has them.

So a window needs no copy from the processor: it is a slice, widened to the 64 bits that the network's look-ups take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.neural.device import to_device

if TYPE_CHECKING:
    from training.neural.batches import Window

UNSIGNED_16 = 0xFFFF


class StreamPiece:
    """The latest piece on the GPU.

    torch has few operators for unsigned numbers, so their bits are read as signed ones. Ids of 32 bits are never that
    large; those of 16 bits are negative from 32,768 on, until a mask takes the copies of the sign away.

    Args:
        rows: Rows of the batch to keep.
        device: The GPU.
    """

    def __init__(self, rows: slice, device: torch.device) -> None:
        self.rows, self.device = rows, device
        self._piece_BL: np.ndarray | None = None
        self._there_BL = torch.empty(0)
        self._negative = False

    def window(self, window: Window) -> Tensor:
        """Return the tokens that a window reads (B, T, int64); of the first one of a piece, the piece is copied."""
        if window.piece_BL is None:
            return to_device(torch.from_numpy(window.x_BT[self.rows]), self.device)
        if window.piece_BL is not self._piece_BL:
            self._piece_BL = window.piece_BL
            signed_BL = np.ascontiguousarray(window.piece_BL[self.rows]).view(f"i{window.piece_BL.itemsize}")
            self._negative = bool(signed_BL.size) and int(signed_BL.min()) < 0
            self._there_BL = to_device(torch.from_numpy(signed_BL), self.device)
        ids_BT = self._there_BL[:, window.begin : window.begin + window.x_BT.shape[1]].to(torch.int64)
        return ids_BT.bitwise_and_(UNSIGNED_16) if self._negative else ids_BT
