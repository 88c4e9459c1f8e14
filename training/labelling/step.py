"""Make one update of a classifier or tagger: the gradient of the mean loss over all targets of a batch.

The gradient is that of the sum of all losses, divided by the number of targets. So a batch can be read in pieces whose
gradients are added up: only rounding and the draws of dropout change. A piece has at most `micro_batch` sequences and
`PIECE_POSITIONS` positions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.neural.device import first_line, is_out_of_memory, to_device
from models.neural.labelling.labelled_sequences import LabelledSequences
from models.neural.labelling.labeller import input_tensors
from models.neural.labelling.network import LabellingNetwork
from models.neural.labelling.rows import FeatureBatch, LabelledBatch
from models.neural.labelling.spec import LabellerSpec
from models.neural.output import NOT_SCORED
from training.labelling.state import LabellerState
from training.neural.checkpoint import random_tensors, set_random
from training.neural.optimization.clipping import scale_and_clip
from training.neural.step import Divergence

PIECE_POSITIONS = 131_072
"""Padded positions that are read at a time, unless a single sequence is longer."""
log = logging.getLogger(__name__)


class LossSums(NamedTuple):
    """Sum of the losses of a batch, number of its targets and of the tokens or features read."""

    loss: float
    targets: int
    tokens: int


def update_once(state: LabellerState, examples: LabelledSequences, rows_B: np.ndarray) -> float:
    """Take one step along the mean gradient over all targets of some sequences; without targets take none.

    Args:
        state: Its optimiser has the rate of this update.
        examples: Training examples.
        rows_B: Numbers of the sequences.

    Returns:
        The norm of the gradient before clipping.

    Raises:
        Divergence: Loss or gradient is not finite; the weights are as before.
    """
    network, training = state.network.train(), state.training
    sums, norm = gradient(state, examples, rows_B), 0.0
    if sums.targets:
        norm = scale_and_clip(network.parameters(), 1 / sums.targets, training.clip, training.clip_value).norm
        if not (math.isfinite(norm) and math.isfinite(sums.loss)):
            mean, update = sums.loss / sums.targets, state.metrics.updates + 1
            raise Divergence(f"loss {mean:.4g}, gradient norm {norm:.4g} at update {update}")
        state.rates.optimizer.step()
        if state.average is not None:
            state.average.update()
    state.metrics.count(*sums)
    return norm


def gradient(state: LabellerState, examples: LabelledSequences, rows_B: np.ndarray) -> LossSums:
    """Compute the gradient of the summed loss; the arguments are those of `update_once`.

    If memory does not suffice, repeat with half as many sequences at a time, from the same random state.
    """
    random = random_tensors(state.device)
    while True:
        state.rates.optimizer.zero_grad(set_to_none=True)
        try:
            return add_gradients(state.network, examples, rows_B, state.spec, state.metrics.micro_batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or min(state.metrics.micro_batch, len(rows_B)) == 1:
                raise
            said = first_line(error)
        # The error keeps tensors in memory until the except block ends, so the cache is emptied here.
        if state.device.type == "cuda":
            torch.cuda.empty_cache()
        state.metrics.micro_batch = -(-min(state.metrics.micro_batch, len(rows_B)) // 2)
        log.warning(
            "out of memory (%s): gradients are now accumulated over micro-batches of %d sequences; results differ only "
            "by rounding and dropout draws. A smaller training.batch avoids this", said, state.metrics.micro_batch
        )  # fmt: skip
        set_random(random, state.device)


def add_gradients(
    network: LabellingNetwork, examples: LabelledSequences, rows_B: np.ndarray, spec: LabellerSpec, micro_batch: int
) -> LossSums:
    """Add the gradient of the summed loss of some sequences to that of the parameters, *micro_batch* at a time."""
    found = LossSums(0.0, 0, 0)
    for piece in pieces(examples.sequences.lengths[rows_B], micro_batch):
        batch, targets = examples.sequences.batch(rows_B[piece]), examples.of_rows(spec, rows_B[piece])
        features_NF, targets_N = asked_features(network, batch, targets, spec)
        own = 0.0
        if len(targets_N):
            loss = network.head.loss(network.head(features_NF), targets_N).sum()
            loss.backward()
            own = float(loss.detach())
        found = LossSums(found.loss + own, found.targets + len(targets_N), found.tokens + batch.size())
    return found


def pieces(lengths_B: np.ndarray, most: int) -> Iterator[slice]:
    """Yield the sequences of a batch in their order, *most* or fewer at a time; see `PIECE_POSITIONS`."""
    first = 0
    while first < len(lengths_B):
        longest_R = np.maximum.accumulate(lengths_B[first : first + most])
        fits_R = longest_R * np.arange(1, len(longest_R) + 1) <= PIECE_POSITIONS
        last = first + max(1, int(fits_R.sum()))
        yield slice(first, last)
        first = last


def asked_features(
    network: LabellingNetwork, batch: LabelledBatch | FeatureBatch, targets: np.ndarray, spec: LabellerSpec
) -> tuple[Tensor, Tensor]:
    """Return the features that have a target, and the targets (float for numbers, int64 for labels)."""
    features_NF = network(*input_tensors(batch, network.device))
    if spec.numbers:
        return features_NF, torch.from_numpy(targets.astype(np.float64)).to(features_NF)
    asked = np.flatnonzero(targets != NOT_SCORED)  # chosen here: a mask on a GPU would make the host wait for it
    targets_N = to_device(torch.from_numpy(targets[asked].astype(np.int64)), network.device)
    if len(asked) < len(targets):
        features_NF = features_NF[to_device(torch.from_numpy(asked), network.device)]
    return features_NF, targets_N
