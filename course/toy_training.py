"""Train a small network on a task (`toy_tasks.py`, `memory/tasks.py`), with schedule, clipping, optimiser of all fits.

The tasks show how the initial weights affect learning: `forget_bias` of the LSTM, and `recurrent_start` of all cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import process_time
from typing import NamedTuple

import numpy as np
import torch

from course.toy_tasks import Examples, Task
from models.base import ModelError
from models.neural.network import Network
from models.neural.optimization.clipping import scale_and_clip
from models.neural.optimization.optimizers import make_optimizer
from models.neural.optimization.schedule import learning_rate
from models.neural.output import NOT_SCORED
from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec

Build = Callable[[RecurrentSpec, torch.Tensor], Network]
"""Makes a network from its options and one number per entry of the vocabulary, like `RecurrentNetwork`."""
CHECKED = 1_000
"""Number of held-out examples scored during training; ten times as many are scored after it."""


@dataclass(frozen=True)
class ToyCase:
    """A network to train.

    Args:
        cell: Kind, non-linearity, initial weights; `toy_spec` adds the other options of a small network.
        learning_rate: Peak of the schedule, found for this kind.
        build: Makes the network.
    """

    cell: RecurrentSpec
    learning_rate: float
    build: Build = RecurrentNetwork


TANH, RELU, GRU = RecurrentSpec(kind="rnn"), RecurrentSpec(kind="rnn", nonlinearity="relu"), RecurrentSpec(kind="gru")
CASES = {
    "tanh": ToyCase(TANH, 1e-3),
    "tanh orthogonal": ToyCase(replace(TANH, recurrent_start="orthogonal"), 1e-3),
    "tanh identity": ToyCase(replace(TANH, recurrent_start="identity"), 1e-3),
    "relu uniform": ToyCase(replace(RELU, recurrent_start="uniform"), 5e-4),
    "relu orthogonal": ToyCase(replace(RELU, recurrent_start="orthogonal"), 5e-4),
    "relu identity": ToyCase(RELU, 5e-4),
    "gru": ToyCase(GRU, 5e-3),
    "gru orthogonal": ToyCase(replace(GRU, recurrent_start="orthogonal"), 5e-3),
    **{f"lstm forget {bias:g}": ToyCase(RecurrentSpec(forget_bias=bias), 5e-3) for bias in (0.0, 1.0, 3.0, 5.0)},
    "lstm orthogonal": ToyCase(RecurrentSpec(recurrent_start="orthogonal"), 5e-3),
}
"""Cells and initial weights that are compared on the same task with the same number of updates."""


class CurvePoint(NamedTuple):
    """One point of a learning curve: updates made, nats per answer, share of answers and of whole examples right."""

    update: int
    nats: float
    answers: float
    exact: float


@dataclass(frozen=True)
class Learned:
    """The result of a training.

    Args:
        network: After the last update, in evaluation mode.
        curve: On `CHECKED` held-out examples.
        final: On ten times as many.
        updates: Updates made, fewer than allowed if everything was right before.
        seconds: CPU time of the updates and the curve.
        rate: Peak of the schedule.
    """

    network: Network
    curve: tuple[CurvePoint, ...]
    final: CurvePoint
    updates: int
    seconds: float
    rate: float = math.nan


def toy_spec(case: ToyCase, hidden: int = 64, batch: int = 32, seed: int = 1) -> RecurrentSpec:
    """Return the options of a small network for these tasks: untied output rows, no dropout, float32.

    Args:
        case: Cell, rate and further options.
        hidden: H, and the size of the embedding.
        batch: Examples per update.
        seed: For initial weights and examples.
    """
    training = TrainingSpec(
        batch=batch, learning_rate=case.learning_rate, weight_decay=0.0, precision="float32", seed=seed
    )
    small = replace(case.cell, hidden=hidden, embedding=hidden, dropout=0.0, training=training)
    return replace(small, tied=False, condition_on_stars=False, objective=ObjectiveSpec(output="softmax"))


def learn(
    task: Task, spec: RecurrentSpec, updates: int, every: int = 50,
    report: Callable[[CurvePoint], None] = lambda point: None, build: Build = RecurrentNetwork,
) -> Learned:  # fmt: skip
    """Train on random examples until every checked answer is right twice in a row, or the updates are used up.

    Equal arguments give equal results on the same machine.

    Args:
        task: Generates the examples.
        spec: Architecture, and of its training: batch, rate, warm-up, final rate, clip, decay, seed.
        updates: Most updates to make.
        every: Updates between two points of the curve.
        report: Called with each point.
        build: Makes the network.

    Raises:
        ModelError: kind "input": no updates; kind "diverged": a loss or gradient is not finite.
    """
    if updates < 1 or every < 1:
        raise ModelError(f"{updates} updates, a point every {every}; both must be at least 1", "input")
    draw, held_out = np.random.default_rng([spec.training.seed, 1]), task.held_out(CHECKED)
    began, curve = process_time(), []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.training.seed)
        network = build(spec, torch.ones(task.entries, dtype=torch.int64)).train()
        optimizer = make_optimizer(network, spec.training)
        for update in range(updates):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(spec.training, update, updates)
            _update(network, optimizer, task.train(draw, spec.training.batch), spec.training, update)
            if (update + 1) % every == 0 or update + 1 == updates:
                curve.append(measure(network, held_out, update + 1))
                report(curve[-1])
                if len(curve) > 1 and curve[-1].exact == curve[-2].exact == 1:
                    break
    seconds = process_time() - began
    final = measure(network, task.held_out(10 * CHECKED), curve[-1].update)
    return Learned(network.eval(), tuple(curve), final, curve[-1].update, seconds, spec.training.learning_rate)


def best_of_rates(task: Task, spec: RecurrentSpec, rates: Sequence[float], updates: int, build: Build) -> Learned:
    """Train once with each learning rate; return the network that is best on the examples checked during training.

    The best has most examples right, and among equals fewest nats. A rate with which training diverges is left out.

    Args:
        task: Generates the examples.
        spec: See `learn`; its learning rate is replaced.
        rates: Peaks of the schedule.
        updates: Most updates with each rate.
        build: Makes the network.

    Raises:
        ModelError: kind "diverged": training diverged with every rate.
    """
    found, lost = [], []
    for rate in rates:
        training = replace(spec.training, learning_rate=rate)
        try:
            found.append(learn(task, replace(spec, training=training), updates, build=build))
        except ModelError as error:
            if error.kind != "diverged":
                raise
            lost.append(error)
    if not found:
        raise lost[0]
    return max(found, key=lambda one: (one.curve[-1].exact, -one.curve[-1].nats))


@torch.no_grad()
def measure(network: Network, examples: Examples, update: int = 0) -> CurvePoint:
    """Return the network's scores on examples; its mode does not change."""
    was_training = network.training
    network.eval()
    nats, right = [], []
    for first in range(0, len(examples.ids_BT), CHECKED):
        ids_BT, targets_BT = (torch.from_numpy(array[first : first + CHECKED]) for array in examples)
        features_BTE, _ = network(ids_BT, network.start(len(ids_BT), "cpu"))
        asked_BT = targets_BT != NOT_SCORED
        features_NE, targets_N = features_BTE[asked_BT], targets_BT[asked_BT]
        nats.append(network.output.nats(features_NE, targets_N))
        right.append((network.output.logp(features_NE).argmax(1) == targets_N).view(len(ids_BT), -1))
    network.train(was_training)
    right_BA = torch.cat(right).double()
    return CurvePoint(update, float(torch.cat(nats).mean()), float(right_BA.mean()), float(right_BA.prod(1).mean()))


def _update(
    network: Network, optimizer: torch.optim.Optimizer, examples: Examples, training: TrainingSpec, update: int
) -> None:
    ids_BT, targets_BT = (torch.from_numpy(array) for array in examples)
    features_BTE, _ = network(ids_BT, network.start(len(ids_BT), "cpu"))
    nats, count = network.output.loss(features_BTE.flatten(0, 1), targets_BT.flatten(), "float32")
    optimizer.zero_grad(set_to_none=True)
    nats.backward()
    norm = scale_and_clip(network.parameters(), 1 / count, training.clip).norm
    loss = float(nats.detach()) / count
    if not (math.isfinite(norm) and math.isfinite(loss)):
        raise ModelError(f"loss {loss:.4g}, gradient norm {norm:.4g} at update {update + 1}", "diverged")
    optimizer.step()
