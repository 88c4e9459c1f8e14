"""Cut a token stream into the windows of truncated back-propagation through time (BPTT), and plan a training of them.

The reviews of a stream are shuffled in every epoch and put into B lanes, which form the batch. In `TBPTTBatches` the
lanes are equal parts of one continuous stream: a review may begin at the end of one lane and continue at the start of
the next. In `ReviewBatches` every lane holds whole reviews, one after another, so that the model can start each review
from a fresh state. The lengths of these lanes are as equal as whole reviews allow.

The plan (windows, epoch by epoch, and when to evaluate) follows from the options and the data alone.

Shapes: B lanes, T positions of a window, D reviews.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from reviewlm.models.neural.spec import NOT_SCORED, TrainingSpec
from reviewlm.models.streams import TokenStream
from reviewlm.models.threads import in_order
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS, EOS

CHUNK = 1 << 22
"""Maximum number of tokens read from the stream at a time."""
WINDOW_STREAM = 11
"""Separates the random stream of window lengths from other uses of the same seed."""
DEVIATION = 5.0
"""Standard deviation of random window lengths."""
SHORTEST_WINDOW = 5
"""Minimum of random window lengths."""
LONGER = 20
"""Maximum of random window lengths above *window*."""
HALF_SHARE = 0.05
"""Share of random window lengths whose mean is half of *window*."""

Span = TypeVar("Span")
Piece = TypeVar("Piece")
RESET_STREAM = 7
"""Part of the seed of state resets, so that their draws differ from other uses of the same seed."""


@dataclass(frozen=True)
class Window:
    """One step of truncated back-propagation through time.

    `x_BT` (int64) are the tokens read, `y_BT` (int64) the tokens that follow them, −1 where nothing is scored. The
    window is number `index` of `of` in its epoch.
    """

    x_BT: np.ndarray
    y_BT: np.ndarray
    index: int
    of: int


@dataclass(frozen=True)
class _Layout:
    """Positions of the reviews and lanes of an epoch.

    Args:
        order_D: Reviews in the order of the epoch.
        bounds_D1: Positions at which these reviews begin, and the end of the last one.
        lanes_B1: Positions at which the lanes begin, and the end of the last one.
        length: Number of positions of the longest lane.
    """

    order_D: np.ndarray
    bounds_D1: np.ndarray
    lanes_B1: np.ndarray
    length: int


class TBPTTBatches:
    """Windows over B lanes of the concatenated reviews.

    Window i+1 of a lane begins where window i ended, so the hidden state may be carried over. Every scored token of the
    stream is the target of exactly one position of an epoch; nothing is trimmed. The windows are a pure function of the
    arguments and the number of the epoch. To resume, call `epoch` with the same epoch and the number of the next
    window.

    Args:
        stream: Reviews.
        batch: B.
        window: T, or with *random_window* its mean.
        seed: Seed of the order of reviews and of the windows' lengths.
        random_window: Draw a random length for each window, see `window_lengths`.
    """

    def __init__(
        self,
        stream: TokenStream,
        batch: int,
        window: int,
        seed: int,
        random_window: bool = False,
    ) -> None:
        self._stream = stream
        self._batch = batch
        self._window = window
        self._seed = seed
        self._random = random_window
        masked = np.arange(stream.vocabulary_size, dtype=np.int64)
        masked[sorted(CONTEXT_IDS)] = NOT_SCORED
        self._target_V = masked

    def windows(self, epochs: int) -> np.ndarray:
        """Return the number of windows of each of the first *epochs* epochs."""
        return np.array(
            [len(self._cuts(epoch, self._length(epoch))) - 1 for epoch in range(epochs)]
        )

    def epoch(
        self,
        n: int,
        start: int = 0,
        ahead: bool = False,
    ) -> Iterator[Window]:
        """Yield the windows of epoch *n* from number *start* on; several windows are read from the stream at a time.

        Args:
            n: Epoch, from 0.
            start: Number of the first window.
            ahead: A thread reads the next ones meanwhile: for a GPU, which would be idle for that time.
        """
        layout = self._layout(n)
        cuts = self._cuts(n, layout.length)
        spans: list[tuple[int, int]] = []
        first = start
        last = len(cuts) - 1
        while first < last:
            together = int(np.searchsorted(cuts, cuts[first] + CHUNK // self._batch, "right")) - 1
            spans.append((first, first := min(max(first + 1, together), last)))

        def read(span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
            return self._read(layout, int(cuts[span[0]]), int(cuts[span[1]]))

        if ahead:
            pieces = _one_ahead(read, spans)
        else:
            pieces = map(read, spans)

        for (first, stop), (x_BL, y_BL) in zip(spans, pieces, strict=True):
            for index in range(first, stop):
                begin = int(cuts[index] - cuts[first])
                end = int(cuts[index + 1] - cuts[first])
                read_BT = x_BL[:, begin:end]
                followed_by_BT = y_BL[:, begin:end]
                yield Window(read_BT.astype(np.int64), self._target_V[followed_by_BT], index, last)

    def _order(self, n: int) -> np.ndarray:
        return np.random.default_rng([self._seed, n]).permutation(len(self._stream))

    def _length(self, n: int) -> int:
        """Return the length of a lane: all positions that have a next token, divided evenly."""
        return -(-max(len(self._stream.ids) - 1, 0) // self._batch)

    def _layout(self, n: int) -> _Layout:
        order_D = self._order(n)
        length = self._length(n)
        bounds_D1 = _bounds(np.diff(self._stream.offsets)[order_D])
        lanes_B1 = np.minimum(np.arange(self._batch + 1) * length, len(self._stream.ids))
        return _Layout(order_D, bounds_D1, lanes_B1, length)

    def _cuts(self, n: int, length: int) -> np.ndarray:
        """Return where in the lanes the windows of an epoch begin, and the end of the last one, past the lanes' end."""
        if not self._random:
            return np.arange(0, length + self._window, self._window)
        draws = np.random.default_rng([self._seed, n, WINDOW_STREAM])
        cuts = _bounds(
            window_lengths(self._window, -(-length // min(SHORTEST_WINDOW, self._window)), draws)
        )
        return cuts[: np.searchsorted(cuts, length) + 1]

    def _read(
        self,
        layout: _Layout,
        start: int,
        stop: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens from *start* to *stop* of every lane, and the tokens that follow them.

        After the end of a lane, both are `<bos>`, which is never scored. The token that follows `<eos>` is replaced by
        `<bos>` too.
        """
        ids = self._stream.ids
        x_BL = np.full((self._batch, stop - start), BOS, ids.dtype)
        y_BL = x_BL.copy()
        for lane, (begin, end) in enumerate(
            zip(layout.lanes_B1[:-1] + start, layout.lanes_B1[1:], strict=True)
        ):
            end = min(begin + stop - start, end)
            if begin >= end:
                continue
            at = self._places(layout, begin, end)
            x_BL[lane, : end - begin] = ids[at]
            y_BL[lane, : end - begin] = ids[np.minimum(at + 1, len(ids) - 1)]

        y_BL[x_BL == EOS] = BOS
        return x_BL, y_BL

    def _places(
        self,
        layout: _Layout,
        begin: int,
        end: int,
    ) -> np.ndarray:
        """Return the indices in the stream of the tokens at the epoch's positions *begin* to *end*."""
        bounds = layout.bounds_D1
        order = layout.order_D
        some = slice(
            np.searchsorted(bounds, begin, "right") - 1, np.searchsorted(bounds, end, "left")
        )
        lengths = np.diff(np.concatenate([[begin], np.minimum(bounds[1:][some], end)]))
        # What to add to a position of the epoch to get the index in the stream, for each review.
        shift = self._stream.offsets[order[some]] - bounds[:-1][some]
        return np.repeat(shift, lengths) + np.arange(begin, end)


class ReviewBatches(TBPTTBatches):
    """Windows over B lanes of whole reviews, packed one after another without padding between them.

    `<eos>` is not read, because nothing follows it: a review of n words has n + 2 positions, of which n + 1 are scored.
    A lane begins at most about half a review away from its even share, so the number of windows may differ between
    epochs.
    """

    def _length(self, n: int) -> int:
        return self._layout(n).length

    def _layout(self, n: int) -> _Layout:
        order_D = self._order(n)
        bounds_D1 = _bounds(np.diff(self._stream.offsets)[order_D] - 1)
        # Each lane begins at the review whose beginning is nearest to an even division of all positions.
        even_B1 = bounds_D1[-1] * np.arange(self._batch + 1) / self._batch
        middles = (bounds_D1[1:] + bounds_D1[:-1]) / 2
        lanes_B1 = bounds_D1[np.searchsorted(middles, even_B1)]
        return _Layout(order_D, bounds_D1, lanes_B1, int(np.diff(lanes_B1).max()))


def _one_ahead(read: Callable[[Span], Piece], spans: Sequence[Span]) -> Iterator[Piece]:
    """Yield read(span) of each span; while one is used, a thread reads the next."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        yield from in_order(lambda span: thread.submit(read, span), spans, lambda: 2)


def make_batches(stream: TokenStream, training: TrainingSpec) -> TBPTTBatches:
    """Return the batches for the options of a training."""
    kind = ReviewBatches if not training.stateful else TBPTTBatches
    return kind(
        stream,
        training.batch,
        training.bptt_len,
        training.seed,
        training.random_window,
    )


def window_lengths(
    window: int,
    count: int,
    draws: np.random.Generator,
) -> np.ndarray:
    """Return random lengths of windows (Merity, Keskar & Socher 2018, section 4.1, "variable length BPTT").

    A length is normally distributed around *window* with standard deviation 5; with probability 5 % the mean is half of
    *window*. The minimum is 5 (or *window* if that is less), the maximum *window* + 20.
    """
    means = np.where(draws.random(count) < HALF_SHARE, window / 2, float(window))
    lengths = np.rint(draws.normal(means, DEVIATION)).astype(np.int64)
    return lengths.clip(min(SHORTEST_WINDOW, window), window + LONGER)


def count_updates(windows: np.ndarray, epochs: float) -> int:
    """Return the number of windows in *epochs* epochs, where the last epoch may be partial; at least 1.

    Args:
        windows: Number of windows of each epoch, the last one included.
        epochs: Number of epochs, above 0.
    """
    if (windows == windows[0]).all():
        return max(1, round(epochs * int(windows[0])))
    whole = math.floor(epochs)
    part = 0
    if whole < len(windows):
        part = (epochs - whole) * windows[whole]

    return max(1, round(int(windows[:whole].sum()) + part))


def _bounds(lengths: np.ndarray) -> np.ndarray:
    """Return where consecutive items of these lengths begin, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


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

    def __init__(
        self,
        stream: TokenStream,
        training: TrainingSpec,
        ahead: bool = False,
    ) -> None:
        self.training = training
        self.batches = make_batches(stream, training)
        self.ahead = ahead
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
            yield window, self._keep_mask(epoch, window.index)

    def epochs_of(self, updates: int) -> float:
        """Return the number of epochs for which a plan has this number of updates, at most those of this plan."""
        epoch = int(np.searchsorted(self.starts, updates, "left")) - 1
        begin = int(self.starts[epoch])
        end = int(self.starts[epoch + 1])
        return epoch + (updates - begin) / (end - begin)

    def _keep_mask(self, epoch: int, index: int) -> Tensor | None:
        training = self.training
        if index == 0 or training.state_reset_prob == 0 or not training.stateful:
            return None
        draws_B = np.random.default_rng([training.seed, epoch, index, RESET_STREAM]).random(
            training.batch
        )
        kept_B = draws_B >= training.state_reset_prob
        if kept_B.all():
            return None
        return torch.from_numpy(kept_B)
