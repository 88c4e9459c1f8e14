"""Plan a training: its windows, epoch by epoch, and when to evaluate. Follows from the options and the data alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from models.neural.training_spec import TrainingSpec

if TYPE_CHECKING:
    from models.streams import TokenStream
    from training.neural.batches import Window

RESET_STREAM = 7
"""Part of the seed of state resets, so that their draws differ from other uses of the same seed."""


class Plan:
    """The windows of a training.

    Args:
        stream: Training reviews.
        training: Epochs, batch, window, resets, number of evaluations, seed.
        ahead: See `TBPTTBatches.epoch`.

    Attributes:
        updates: Windows in the whole training; each is one update.
        evaluations: The numbers of updates done at which validation is measured: evenly spaced, the last at the end.
        total_tokens: Scored in the whole training, approximately.
    """

    def __init__(self, stream: TokenStream, training: TrainingSpec, ahead: bool = False) -> None:
        from training.neural.batches import count_updates, make_batches

        self.training, self.batches, self.ahead = training, make_batches(stream, training), ahead
        windows = self.batches.windows(math.ceil(training.epochs))
        self.starts = np.concatenate([[0], np.cumsum(windows)])
        self.updates = count_updates(windows, training.epochs)
        count = training.evaluations
        self.evaluations = {math.ceil(self.updates * (i + 1) / count) for i in range(count)}
        passes = float(np.interp(self.updates, self.starts, np.arange(len(self.starts))))
        self.total_tokens = round(stream.tokens * passes)

    def rest_of_epoch(self, done: int) -> Iterator[tuple[Window, Tensor | None]]:
        """Yield the windows after *done* updates, to the end of their epoch or of the training.

        Each comes with a mask (bool, B): False for streams whose state is reset before it, or None if none is.
        """
        epoch = int(np.searchsorted(self.starts, done, "right")) - 1
        windows = self.batches.epoch(epoch, done - int(self.starts[epoch]), self.ahead)
        for window in islice(windows, self.updates - done):
            yield window, self._kept(epoch, window.index)

    def epochs_of(self, updates: int) -> float:
        """Return the number of epochs for which a plan has this number of updates, at most those of this plan."""
        epoch = int(np.searchsorted(self.starts, updates, "left")) - 1
        begin, end = int(self.starts[epoch]), int(self.starts[epoch + 1])
        return epoch + (updates - begin) / (end - begin)

    def _kept(self, epoch: int, index: int) -> Tensor | None:
        training = self.training
        if index == 0 or training.state_reset_prob == 0 or not training.stateful:
            return None
        draws_B = np.random.default_rng([training.seed, epoch, index, RESET_STREAM]).random(training.batch)
        kept_B = draws_B >= training.state_reset_prob
        return None if kept_B.all() else torch.from_numpy(kept_B)
