"""Fit a classifier or tagger: shuffled batches of whole sequences, the best of several states on held-out examples.

Optimiser, schedule, clipping and number format are those of the language models' recipe (`TrainingSpec`). An update
uses the gradient of the mean loss over the batch: over its sequences, or over its positions that have a target. The
gradient flows through whole sequences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...base import FitProgress, ModelError
from ..device import require_device
from ..lm import limited_threads
from ..optimization.clipping import scale_and_clip
from ..optimization.optimizers import make_optimizer
from ..optimization.schedule import learning_rate
from ..out_of_memory import first_line, is_out_of_memory
from ..recurrent import RecurrentNetwork
from ..training.checkpoint import fill_network, network_tensors
from .labelled_sequences import LabelledBatch, LabelledSequences
from .labeller import Labeller
from .network import LabellingNetwork
from .spec import LabellingSpec


class FittedLabeller(NamedTuple):
    """The model of the best evaluation, and numbers: parameters, updates, and the result of `Labeller.measure`."""

    model: Labeller
    summary: dict[str, float]


def fit(
    spec: LabellingSpec, entries: int, train: LabelledSequences, validation: LabelledSequences, *,
    start: RecurrentNetwork | None = None, vocabulary_digest: str = "", device: str = "cpu", threads: int = 1,
    report: Callable[[FitProgress], None] = lambda progress: None,
) -> FittedLabeller:  # fmt: skip
    """Train on some examples, choose the state with the lowest mean loss on others.

    Equal arguments give equal weights on the same machine.

    Args:
        spec: Task, architecture, loss, recipe.
        entries: V of the vocabulary that made the ids.
        train: Training examples; every one is read once in an epoch.
        validation: Examples for choosing the state, `training.evaluations` times, evenly spaced over the updates.
        start: A language model's network; training starts from its embedding and recurrent layers.
        vocabulary_digest: Stored with the model.
        device: "cpu" or "cuda".
        threads: For matrix products.
        report: Called after each evaluation with its figures; steps are tokens read.

    Raises:
        ModelError: kind "input": see `LabelledSequences.require`, `LabellingNetwork.take_over` and `require_device`;
            "diverged": a loss or gradient is not a finite number; "memory".
    """
    require_device(device)
    train.require(spec, entries)
    validation.require(spec, entries)
    try:
        with limited_threads(threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.training.seed)
            network = LabellingNetwork(spec, entries, train.targets[train.asked(spec)])
            if start is not None:
                network.take_over(start)
            model = Labeller(spec, network.to(device), vocabulary_digest)
            return FittedLabeller(model, _train(model, train, validation, report))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        what = f"not enough memory on {device}: {first_line(error)}; a smaller batch or hidden size needs less"
        raise ModelError(what, "memory") from error


def _train(
    model: Labeller, train: LabelledSequences, validation: LabelledSequences, report: Callable[[FitProgress], None]
) -> dict[str, float]:
    """Make all updates and put the best weights into the model's network."""
    spec, network, training = model.spec, model.network, model.spec.training
    optimizer = make_optimizer(network, training)
    sequences, draw = train.sequences, np.random.default_rng([training.seed, 2])
    updates = max(1, math.ceil(training.epochs * math.ceil(len(sequences) / training.batch)))
    looks = {math.ceil((index + 1) * updates / training.evaluations) for index in range(training.evaluations)}
    best, read = network_tensors(network), 0
    best_figures: dict[str, float] = {spec.loss: math.inf}
    for update, rows_B in zip(range(updates), _endless(train, draw, training.batch), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training, update, updates)
        network.train()
        batch = sequences.batch(rows_B)
        update_once(network, optimizer, batch, train.of_rows(spec, rows_B), spec, update)
        read += int(batch.lengths_B.sum())
        if update + 1 in looks:
            network.eval()
            figures = model.measure(validation)
            report(FitProgress(read, round(training.epochs * len(sequences.ids_P)), figures))
            if figures[spec.loss] < best_figures[spec.loss]:
                best, best_figures = network_tensors(network), figures
    if math.isinf(best_figures[spec.loss]):
        raise ModelError("no evaluation had a finite loss: try a smaller training.learning_rate", "diverged")
    fill_network(network, best)
    network.eval()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "updates": updates, **best_figures}


def _endless(train: LabelledSequences, draw: np.random.Generator, batch: int) -> Iterator[np.ndarray]:
    while True:
        yield from train.sequences.shuffled(draw, batch)


def update_once(
    network: LabellingNetwork, optimizer: torch.optim.Optimizer, batch: LabelledBatch, targets: np.ndarray,
    spec: LabellingSpec, update: int,
) -> None:  # fmt: skip
    """Take one step along the mean gradient over all targets; a batch without targets takes none.

    Args:
        network: In training mode.
        optimizer: With the rate of this update.
        batch: Sequences.
        targets: The result of `LabelledSequences.of_rows` for them.
        spec: The network's.
        update: Its number, from 0.

    Raises:
        ModelError: kind "diverged": loss or gradient is not finite; the weights are as before.
    """
    features_NF, targets_N = asked_features(network, batch, targets, spec)
    if not len(targets_N):
        return
    optimizer.zero_grad(set_to_none=True)
    loss = network.head.loss(network.head(features_NF), targets_N).sum()
    loss.backward()
    training, mean = spec.training, float(loss.detach()) / len(targets_N)
    norm = scale_and_clip(network.parameters(), 1 / len(targets_N), training.clip, training.clip_value).norm
    if not (math.isfinite(norm) and math.isfinite(mean)):
        what = f"loss {mean:.4g}, gradient norm {norm:.4g} at update {update + 1}; try a smaller training.learning_rate"
        raise ModelError(what, "diverged")
    optimizer.step()


def asked_features(
    network: LabellingNetwork, batch: LabelledBatch, targets: np.ndarray, spec: LabellingSpec
) -> tuple[Tensor, Tensor]:
    """Return the features that have a target, and the targets (float for numbers, int64 for labels)."""
    device = network.embedding.weight.device
    ids_BT, lengths_B = (torch.from_numpy(array).to(device) for array in (batch.ids_BT, batch.lengths_B))
    features_NF = network(ids_BT, lengths_B)
    if spec.numbers:
        return features_NF, torch.from_numpy(targets.astype(np.float64)).to(features_NF)
    targets_N = torch.from_numpy(targets.astype(np.int64)).to(device)
    asked_N = targets_N >= 0
    return features_NF[asked_N], targets_N[asked_N]
