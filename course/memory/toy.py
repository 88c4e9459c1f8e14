"""Train a small network on a task that needs memory (`toy_tasks.py`): who learns it, and with which initial weights.

Schedule, clipping and optimiser are those of all fits of the project. `forget_bias` of the LSTM and `recurrent_start`
of all cells decide how far a gradient reaches before anything is learnt (`course/context/gradient_flow.py`), and so who
learns at all.

    python -m reviewlm.course.memory.toy addition --networks "lstm forget 1"
    python -m reviewlm.course.memory.toy recall --lag 100 --networks all
    python -m reviewlm.course.memory.toy association --networks "memory, tanh, lstm forget 1"
    python -m reviewlm.course.memory.toy implication --steps 3 --networks "hops 1, hops 2, hops 3"
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import process_time
from typing import NamedTuple

import numpy as np
import torch

from reviewlm.course.inputs import program, show
from reviewlm.course.memory.end_to_end_memory import EndToEndMemoryNetwork
from reviewlm.course.memory.external_memory import ExternalMemoryNetwork
from reviewlm.course.memory.toy_tasks import (
    Addition,
    Association,
    Examples,
    Implication,
    Recall,
    Task,
)
from reviewlm.models.base import ModelError
from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.device import limited_threads
from reviewlm.models.neural.network import Network
from reviewlm.models.neural.output import NOT_SCORED
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.training.neural.gradient_clipping import scale_and_clip
from reviewlm.training.neural.learning_rates import learning_rate
from reviewlm.training.neural.optimizers import make_optimizer

Build = Callable[[RecurrentSpec, torch.Tensor], Network]
"""Makes a network from its options and one number per entry of the vocabulary, like `RecurrentNetwork`."""
USUAL = {
    "addition": "lstm forget 1",
    "recall": "all",
    "association": "memory, tanh",
    "implication": "hops 1, hops 2",
}
"""Networks that a task is shown with, if none are named."""
CHECKED = 1_000
"""Number of held-out examples scored during training; four times as many are scored after it."""
TANH = RecurrentSpec(kind="rnn")
RELU = RecurrentSpec(kind="rnn", nonlinearity="relu")
GRU = RecurrentSpec(kind="gru")


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


CASES = {
    "tanh": ToyCase(TANH, 1e-3),
    "tanh orthogonal": ToyCase(replace(TANH, recurrent_start="orthogonal"), 1e-3),
    "tanh identity": ToyCase(replace(TANH, recurrent_start="identity"), 1e-3),
    "relu uniform": ToyCase(replace(RELU, recurrent_start="uniform"), 5e-4),
    "relu orthogonal": ToyCase(replace(RELU, recurrent_start="orthogonal"), 5e-4),
    "relu identity": ToyCase(RELU, 5e-4),
    "gru": ToyCase(GRU, 5e-3),
    "gru orthogonal": ToyCase(replace(GRU, recurrent_start="orthogonal"), 5e-3),
    **{
        f"lstm forget {bias:g}": ToyCase(RecurrentSpec(forget_bias=bias), 5e-3)
        for bias in (0.0, 1.0, 3.0, 5.0)
    },
    "lstm orthogonal": ToyCase(RecurrentSpec(recurrent_start="orthogonal"), 5e-3),
    "memory": ToyCase(TANH, 5e-3, ExternalMemoryNetwork),
    **{
        f"hops {hops}": ToyCase(TANH, 1e-2, partial(EndToEndMemoryNetwork, hops=hops))
        for hops in (1, 2, 3)
    },
}
ORDINARY = [name for name, case in CASES.items() if case.build is RecurrentNetwork]
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
        final: On four times as many.
        updates: Updates made, fewer than allowed if everything was right before.
        seconds: CPU time of the updates and the curve.
    """

    network: Network
    curve: tuple[CurvePoint, ...]
    final: CurvePoint
    updates: int
    seconds: float


def toy_spec(
    case: ToyCase,
    hidden: int = 64,
    batch: int = 32,
    seed: int = 1,
) -> RecurrentSpec:
    """Return the options of a small network for these tasks: untied output rows, no dropout, float32.

    Args:
        case: Cell, rate and further options.
        hidden: H, and the size of the embedding.
        batch: Examples per update.
        seed: For initial weights and examples.
    """
    training = TrainingSpec(
        batch=batch,
        learning_rate=case.learning_rate,
        weight_decay=0.0,
        precision="float32",
        seed=seed,
    )
    small = replace(
        case.cell,
        hidden=hidden,
        embedding=hidden,
        dropout=0.0,
        training=training,
    )
    return replace(
        small,
        tied=False,
        condition_on_stars=False,
        objective=ObjectiveSpec(output="softmax"),
    )


def learn(
    task: Task,
    spec: RecurrentSpec,
    updates: int,
    every: int = 50,
    build: Build = RecurrentNetwork,
) -> Learned:
    """Train on random examples until every checked answer is right twice in a row, or the updates are used up.

    Equal arguments give equal results on the same machine.

    Args:
        task: Generates the examples.
        spec: Architecture, and of its training: batch, rate, warm-up, final rate, clip, decay, seed.
        updates: Most updates to make.
        every: Updates between two points of the curve.
        build: Makes the network.

    Raises:
        ModelError: kind "input": no updates; kind "diverged": a loss or gradient is not finite.
    """
    if updates < 1 or every < 1:
        raise ModelError(
            f"{updates} updates, a point every {every}; both must be at least 1", "input"
        )

    draw = np.random.default_rng([spec.training.seed, 1])
    held_out = task.held_out(CHECKED)
    began = process_time()
    curve = []
    with (
        limited_threads(1),
        torch.random.fork_rng(devices=[]),
    ):  # more threads only wait for each other
        torch.manual_seed(spec.training.seed)
        network = build(spec, torch.ones(task.entries, dtype=torch.int64)).train()
        optimizer = make_optimizer(network, spec.training)
        for update in range(updates):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(spec.training, update, updates)
            _update(
                network,
                optimizer,
                task.train(draw, spec.training.batch),
                spec.training,
                update,
            )
            if (update + 1) % every == 0 or update + 1 == updates:
                curve.append(measure(network, held_out, update + 1))
                if len(curve) > 1 and curve[-1].exact == curve[-2].exact == 1:
                    break
        seconds = process_time() - began
        final = measure(network, task.held_out(4 * CHECKED), curve[-1].update)

    return Learned(
        network.eval(),
        tuple(curve),
        final,
        curve[-1].update,
        seconds,
    )


@torch.no_grad()
def measure(
    network: Network,
    examples: Examples,
    update: int = 0,
) -> CurvePoint:
    """Return the network's scores on examples; its mode does not change."""
    was_training = network.training
    network.eval()
    nats = []
    right = []
    for first in range(0, len(examples.ids_BT), CHECKED):
        ids_BT, targets_BT = (
            torch.from_numpy(array[first : first + CHECKED]) for array in examples
        )
        features_BTE, _ = network(ids_BT, network.start(len(ids_BT), "cpu"))
        asked_BT = targets_BT != NOT_SCORED
        features_NE = features_BTE[asked_BT]
        targets_N = targets_BT[asked_BT]
        nats.append(network.output.nats(features_NE, targets_N))
        right.append(
            (network.output.logp(features_NE).argmax(1) == targets_N).view(len(ids_BT), -1)
        )

    network.train(was_training)
    right_BA = torch.cat(right).double()
    return CurvePoint(
        update,
        float(torch.cat(nats).mean()),
        float(right_BA.mean()),
        float(right_BA.prod(1).mean()),
    )


def _update(
    network: Network,
    optimizer: torch.optim.Optimizer,
    examples: Examples,
    training: TrainingSpec,
    update: int,
) -> None:
    ids_BT, targets_BT = (torch.from_numpy(array) for array in examples)
    features_BTE, _ = network(ids_BT, network.start(len(ids_BT), "cpu"))
    nats, count = network.output.loss(features_BTE.flatten(0, 1), targets_BT.flatten(), "float32")
    optimizer.zero_grad(set_to_none=True)
    nats.backward()
    norm = scale_and_clip(network.parameters(), 1 / count, training.clip).norm
    loss = float(nats.detach()) / count
    if not (math.isfinite(norm) and math.isfinite(loss)):
        raise ModelError(
            f"loss {loss:.4g}, gradient norm {norm:.4g} at update {update + 1}", "diverged"
        )

    optimizer.step()


def tasks(options: Namespace) -> dict[str, Task]:
    """Return the tasks by name."""
    return {
        "addition": Addition(options.bits, options.seed),
        "recall": Recall(options.lag or 100, seed=options.seed),
        "association": Association(lag=options.lag or 40, seed=options.seed),
        "implication": Implication(options.steps, seed=options.seed),
    }


def main() -> None:
    """Train the chosen networks one after another and show what they answer right."""
    parser = program(
        __doc__,
        networks="",
        bits=8,
        lag=0,
        steps=2,
        hidden=48,
        batch=64,
        updates=1_500,
    )
    parser.add_argument("task", choices=list(USUAL))
    options = parser.parse_args()
    task = tasks(options)[options.task]
    names = options.networks or USUAL[options.task]
    rows = []
    for name in [*ORDINARY] if names == "all" else [name.strip() for name in names.split(",")]:
        spec = toy_spec(CASES[name], options.hidden, options.batch, options.seed)
        learned = learn(task, spec, options.updates, build=CASES[name].build)
        parameters = sum(weight.numel() for weight in learned.network.parameters())
        shares = {"all right": learned.final.exact, "answers right": learned.final.answers}
        cost = {"updates": learned.updates, "CPU s": learned.seconds}
        rows.append(
            {
                "network": name,
                "parameters": parameters,
                **shares,
                **cost,
            }
        )
        print(f"{name}: {learned.final.exact:.1%} after {learned.updates} updates", flush=True)

    show(rows)


if __name__ == "__main__":
    main()
