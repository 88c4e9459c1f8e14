"""Gradient descent does what it is for: the loss falls, and falls to where it is known to end.

Full, mini and single batches go the trainer's own way (windows, sums of gradients, division, step), on reviews made in
memory.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from models.neural.network import Network
from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from models.tokens.special import UNK
from tests.marked_cases import long_but
from tests.models.neural.made_streams import stream_of, walks
from tests.models.neural.made_trainings import SPEC, TRAINING, V, journal, network_of, run
from training.context import FitContext
from training.neural.batches import Window
from training.neural.state import TrainingState
from training.neural.step import TrainingStep
from training.neural.trainer import train

PLAIN_STEPS = TrainingSpec(
    optimizer="sgd", weight_decay=0.0, clip=None, warmup=0.0, state_reset_prob=0.0, precision="float32", evaluations=1
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_the_loss_falls_strictly_over_ten_epochs(kind: str, tmp_path: Path) -> None:
    """A line of the journal per update: an epoch's loss is the mean over its tokens."""
    training = replace(TRAINING, epochs=10, bptt_len=25, learning_rate=3e-2, state_reset_prob=0.0)
    spec = replace(SPEC, kind=kind, dropout=0.0, training=training)
    stream = walks(30, V, 1)
    _, summary = run(tmp_path, network_of(spec, stream), training, (stream, stream))
    lines = [line for line in journal(tmp_path) if "train/nats" in line]
    per_epoch = len(lines) // 10
    assert len(lines) == summary["updates"] == 10 * per_epoch
    tokens = np.diff([0, *(line["step"] for line in lines)])
    nats = tokens * [line["train/nats"] for line in lines]
    epochs = [nats[i : i + per_epoch].sum() / tokens[i : i + per_epoch].sum() for i in range(0, len(lines), per_epoch)]
    assert len(epochs) == 10
    assert all(later < earlier for earlier, later in pairwise(epochs))
    assert epochs[-1] < epochs[0] - 1


# --- full, mini and single batches


N, T = 6, 9


def examples() -> tuple[np.ndarray, np.ndarray]:
    """N examples of T tokens; of each another share is scored, of one all and of one none."""
    draw = np.random.default_rng(4)
    x_NT, y_NT = (draw.integers(9, V, (N, T)) for _ in range(2))
    return x_NT, np.where(draw.random((N, T)) < np.linspace(1, 0, N)[:, None], y_NT, -1)


def moved(rows: list[int], **options: object) -> torch.Tensor:
    """How far one step of the trainer moves all parameters, in float64, where it reads these examples as its batch."""
    training = replace(PLAIN_STEPS, batch=len(rows), bptt_len=T, learning_rate=0.5, schedule="constant", **options)  # type: ignore[arg-type]
    torch.manual_seed(2)
    spec = replace(SPEC, kind="lstm", dropout=0.0, training=training)
    network: Network = RecurrentNetwork(spec, torch.arange(V)).double().train()
    before = torch.cat([parameter.detach().flatten().clone() for parameter in network.parameters()])
    step = TrainingStep(TrainingState(network, training, 1), lambda figures: None)
    x_NT, y_NT = examples()
    step(Window(x_NT[rows], y_NT[rows], 0, 1), None)
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]) - before


@pytest.mark.parametrize("options", [{}, {"micro_batch": 4}], ids=["read at once", "read in parts"])
def test_the_step_of_the_full_batch_is_the_mean_of_the_steps_of_its_examples(options: dict[str, int]) -> None:
    """As a step is a gradient times the rate, the gradients are: every token weighs the same, scored or not."""
    whole, single = moved(list(range(N)), **options), torch.stack([moved([row]) for row in range(N)])
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(whole, single.mean(0), rtol=1e-9, atol=1e-12)
    halves = torch.stack([moved([0, 1, 2]), moved([3, 4, 5])])
    torch.testing.assert_close(whole, halves.mean(0), rtol=1e-9, atol=1e-12)


TEXT = stream_of([[9, 10, UNK, 9, 11], [9, 9, 10], [12, 9, 10, 10, 9], [9, 11, UNK, 10, 9], [9, 13, 10]], 14)


class BiasOnly(RecurrentNetwork):
    """Only the biases of the output are trained, from 0, and all its rows are 0: logistic regression on a constant.

    It is convex, and its optimum known: every word's probability is its share of the text.
    """

    def __init__(self, training: TrainingSpec) -> None:
        spec = RecurrentSpec(
            kind="rnn", hidden=3, embedding=3, dropout=0.0, objective=ObjectiveSpec("softmax"), training=training
        )
        super().__init__(spec, torch.ones(14))
        for parameter in self.parameters():
            parameter.requires_grad_(parameter is self.output.bias)
        with torch.no_grad():
            self.output.weight.zero_()
            self.output.bias.zero_()


@pytest.mark.parametrize(
    ("batch", "window", "epochs", "rate", "tolerance"),
    long_but([(1, 1, 30, 0.3, 0.01), (2, 4, 100, 0.5, 0.003), (1, 64, 400, 2.0, 1e-4)], [(2, 4, 100, 0.5, 0.003)]),
    ids=["one token", "eight tokens", "the whole text"],
)
def test_batches_of_one_some_and_all_tokens_reach_the_optimum_of_a_convex_problem(
    tmp_path: Path, batch: int, window: int, epochs: int, rate: float, tolerance: float
) -> None:
    """The optimum is the entropy of the text's words in nats: all steps of a full batch lead there, single tokens
    disagree, and the falling rate settles them."""
    training = replace(
        PLAIN_STEPS, batch=batch, bptt_len=window, epochs=epochs, learning_rate=rate, schedule="linear", final_rate=0.0
    )
    words = np.concatenate([TEXT.document(index)[2:] for index in range(len(TEXT))])
    shares = np.unique(words, return_counts=True)[1] / len(words)
    entropy = -float(shares @ np.log(shares))
    network = BiasOnly(training)
    summary = train(network, TEXT, TEXT, training, FitContext(tmp_path))
    assert math.log(int((~network.output.given_V).sum())) > entropy + 0.2, "where it starts"
    assert -1e-6 < summary["validation_nats"] - entropy < tolerance
    if window == 64:
        assert summary["updates"] == epochs, "one step an epoch"
