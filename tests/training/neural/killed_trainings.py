"""Small trainings that are killed on the way, for tests of checkpoints."""

import json

import pytest
import torch

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.streams import unigram_counts
from reviewlm.training.context import FitContext
from reviewlm.training.neural.trainer import CHECKPOINTS, train
from reviewlm.training.neural.training_metrics import MEASURED
from tests.models.neural.made_streams import walks
from tests.models.neural.made_trainings import Killed

V = 30
TRAINING = TrainingSpec(
    epochs=2,
    batch=4,
    bptt_len=6,
    bptt_grad_len=15,
    learning_rate=2e-2,
    evaluations=3,
    state_reset_prob=0.2,
    precision="bf16",
    seed=5,
)
SPEC = RecurrentSpec(
    kind="lstm",
    hidden=10,
    embedding=8,
    dropout=0.2,
    objective=ObjectiveSpec(head=8, chunk=16),
    training=TRAINING,
)
TRAIN, VALIDATION = walks(40, V, 1), walks(8, V, 2)
WALL_CLOCK = ("time", *MEASURED)
CLOCKS = ("seconds", "cpu_seconds", *MEASURED)


def network_of(kill_at=None):
    """A network that dies in the middle of its n-th training window."""
    torch.manual_seed(TRAINING.seed)
    network = RecurrentNetwork(SPEC, torch.from_numpy(unigram_counts(TRAIN, V)))
    windows, forward = [0], network.output.loss

    def loss(*arguments):
        windows[0] += 1
        if windows[0] == kill_at:
            raise Killed
        return forward(*arguments)

    network.output.loss = loss
    return network


def run(
    folder,
    network=None,
    training=TRAINING,
):
    folder.mkdir(exist_ok=True)
    network = network or network_of()
    summary = train(
        network,
        TRAIN,
        VALIDATION,
        training,
        FitContext(folder),
    )
    return network, summary


def bits(network):
    return {
        name: parameter.detach().numpy().tobytes() for name, parameter in network.named_parameters()
    }


def journal(folder):
    """The journal's lines without what the clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in WALL_CLOCK} for line in lines
    ]


def without_clock(summary):
    return {name: value for name, value in summary.items() if name not in CLOCKS}


def assert_same_as(
    undisturbed,
    folder,
    network,
    summary,
):
    assert bits(network) == undisturbed[0]
    assert without_clock(summary) == undisturbed[1]
    assert journal(folder) == undisturbed[2]


def kill(folder, at):
    with pytest.raises(Killed):
        run(folder, network_of(at))


def newest(folder):
    return max((folder / CHECKPOINTS).iterdir())
