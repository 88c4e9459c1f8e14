"""Measure nats per token on held-out reviews: each review from a fresh state, every token scored once, float32."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from reviewlm.models.base import is_out_of_memory
from reviewlm.models.neural.device import POSITIONS, first_line, to_device
from reviewlm.models.neural.network import Network
from reviewlm.models.neural.output.base import CONTEXT_IDS
from reviewlm.models.neural.spec import NOT_SCORED
from reviewlm.models.threads import return_freed
from reviewlm.training.neural.data_parallel import Ranks

if TYPE_CHECKING:
    from reviewlm.models.streams import TokenStream

log = logging.getLogger(__name__)
BATCH_POSITIONS = 16_384
"""Positions of a batch of reviews side by side, padding included."""


def validation_nats(
    network: Network,
    stream: TokenStream,
    limit: int | None = None,
    positions: int = BATCH_POSITIONS,
    ranks: Ranks | None = None,
) -> tuple[float, int]:
    """Return the mean of −log p in nats per scored token, and the number of scored tokens.

    Equal arguments on the same device and thread count give the same number to the last bit. Afterwards the network is
    in the same mode (training or not) as before, and no random numbers are drawn.

    Args:
        network: Scored without dropout.
        stream: Held-out reviews.
        limit: Score only about this number of tokens: reviews evenly spaced over the whole stream.
        positions: Of a batch, one review or several side by side. At most so many are read at a time, fewer on the
            processor, and half as many if memory does not suffice. Does not change the result beyond rounding.
        ranks: Share the work; each returns the figure of all.

    Raises:
        RuntimeError: torch's, if the memory does not suffice for a single position.
    """
    ranks = ranks or Ranks()
    was_training = network.training
    return_freed()  # the tensors of a measurement do not fit into the gaps that updates leave
    network.eval()
    nats = 0.0
    tokens = 0
    at_once = min(positions, POSITIONS[network.output.weight.device.type])
    try:
        for x_BT, y_BT in islice(
            _batches(stream, _choose_reviews(stream, limit), positions),
            ranks.rank,
            None,
            ranks.size,
        ):
            part, at_once = _score_with_less(network, x_BT, y_BT, at_once)
            nats = nats + part
            tokens += int((y_BT != NOT_SCORED).sum())
    finally:
        network.train(was_training)
        return_freed()  # nor those of updates into its gaps

    nats, all_tokens = ranks.total([nats, tokens])
    return nats / max(1, all_tokens), round(all_tokens)


def validation_limit(total_tokens: int, evaluations: int) -> int:
    """Return the held-out tokens to score at each evaluation.

    Scoring a token takes about a third of the time of training on it, so 15 % of the training tokens between two
    evaluations make evaluations cost about 5 % of the time. The limits keep the figure precise for small fits and the
    time short for large ones.
    """
    return max(20_000, min(200_000, int(0.15 * total_tokens / evaluations)))


def _score_with_less(
    network: Network,
    x_BT: np.ndarray,
    y_BT: np.ndarray,
    positions: int,
) -> tuple[float, int]:
    """Return the sum of nats, and the number of positions at a time for which memory sufficed."""
    while True:
        try:
            return _score(network, x_BT, y_BT, positions), positions
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or positions == 1:
                raise
            message = first_line(error)

        # The error keeps tensors in memory until the except block ends, so the cache is emptied here.
        if network.output.weight.is_cuda:
            torch.cuda.empty_cache()
        positions = -(-min(positions, x_BT.size) // 2)
        log.warning(
            "not enough memory for validation (%s): reading %d positions at a time",
            message,
            positions,
        )


@torch.no_grad()
def _score(
    network: Network,
    x_BT: np.ndarray,
    y_BT: np.ndarray,
    positions: int,
) -> float:
    """Return the sum of nats of some reviews; at most *positions* positions are read at a time.

    The reviews are cut before there are fewer of them side by side: with few, the products of a position are slow.
    """
    device = network.output.weight.device
    nats = torch.zeros((), dtype=torch.float64, device=device)
    rows = min(len(x_BT), positions)
    width = positions // rows
    for first in range(0, len(x_BT), rows):
        some = slice(first, first + rows)
        state = network.start(len(x_BT[some]), device)
        for begin in range(0, x_BT.shape[1], width):
            part = slice(begin, begin + width)
            features_BTE, state = network(
                to_device(torch.from_numpy(x_BT[some, part]), device), state
            )
            targets_N = torch.from_numpy(y_BT[some, part]).flatten()
            nats += network.output.nats(features_BTE.flatten(0, 1), targets_N).double().sum()

    return float(nats)


def _choose_reviews(stream: TokenStream, limit: int | None) -> np.ndarray:
    """Return the indices of the reviews to score, shortest first."""
    count = len(stream)
    if limit is not None and stream.tokens > limit:
        count = max(1, count * limit // stream.tokens)
    chosen = np.arange(count, dtype=np.int64) * len(stream) // max(1, count)
    lengths = np.diff(np.asarray(stream.offsets))[chosen]
    return chosen[np.argsort(lengths, kind="stable")]


def _batches(
    stream: TokenStream,
    chosen: np.ndarray,
    positions: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield tokens (padded with 0) and the tokens that follow (−1: given or padding), reviews of similar length."""
    group: list[np.ndarray] = []
    for index in chosen:
        document = np.asarray(stream.document(int(index)), dtype=np.int64)
        if group and (len(group) + 1) * (len(document) - 1) > positions:
            yield _pad(group)
            group = []
        group.append(document)
    if group:
        yield _pad(group)


def _pad(documents: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    shape = len(documents), max(len(document) for document in documents) - 1
    x_BT = np.zeros(shape, np.int64)
    y_BT = np.full(shape, NOT_SCORED, np.int64)
    for row, document in enumerate(documents):
        given_T = document[:-1]
        next_T = document[1:]
        x_BT[row, : len(given_T)] = given_T
        y_BT[row, : len(next_T)] = np.where(np.isin(next_T, CONTEXT_IDS), NOT_SCORED, next_T)

    return x_BT, y_BT
