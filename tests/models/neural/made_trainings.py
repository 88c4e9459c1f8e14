"""Small recurrent networks trained on random walks, and ways to spoil that: what tests of the trainer share."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.streams import unigram_counts
from reviewlm.training.context import FitContext
from reviewlm.training.neural import checkpoint
from reviewlm.training.neural.fused.chosen_layers import train_with_own_layers
from reviewlm.training.neural.trainer import train
from tests.models.neural.made_streams import walks

V = 30
TRAINING = TrainingSpec(
    epochs=2,
    batch=4,
    bptt_len=10,
    learning_rate=2e-2,
    evaluations=4,
    state_reset_prob=0.1,
    precision="float32",
    seed=5,
)
SPEC = RecurrentSpec(
    kind="gru",
    hidden=12,
    embedding=8,
    dropout=0.1,
    objective=ObjectiveSpec(head=10, chunk=16),
    training=TRAINING,
)
TRAIN, VALIDATION = walks(60, V, 1), walks(12, V, 2)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the program may catch it."""


@contextmanager
def killed_at_rename(number: int) -> Iterator[None]:
    """Let the block die before a checkpoint's file is renamed for the n-th time."""
    renames, replace_file = [0], os.replace

    def dying(*names):
        renames[0] += 1
        if renames[0] == number:
            raise Killed
        replace_file(*names)

    with patch.object(checkpoint.os, "replace", dying), pytest.raises(Killed):
        yield


def network_of(spec=SPEC, stream=TRAIN):
    torch.manual_seed(spec.training.seed)
    return train_with_own_layers(
        RecurrentNetwork(spec, torch.from_numpy(unigram_counts(stream, V)))
    )


def run(
    folder,
    network=None,
    training=TRAINING,
    streams=(TRAIN, VALIDATION),
    report=lambda progress: None,
):
    network = network or network_of(replace(SPEC, training=training))
    folder.mkdir(exist_ok=True)
    return network, train(network, *streams, training, FitContext(folder, report=report))


def journal(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def curve(folder, name):
    return [line[name] for line in journal(folder) if name in line]


class Planted(RecurrentNetwork):
    """Spoils the features (or their gradient) of chosen training windows, counted from 0 over all attempts."""

    def __init__(self, spoil, windows):
        torch.manual_seed(TRAINING.seed)
        super().__init__(SPEC, torch.from_numpy(unigram_counts(TRAIN, V)))
        self.spoil, self.windows, self.seen = spoil, windows, -1

    def forward(self, ids, state):
        features, state = super().forward(ids, state)
        self.seen += self.training
        if self.training and self.seen in self.windows:
            if self.spoil == "loss":
                features = features * math.nan
            else:
                features.register_hook(
                    lambda grad: grad * (math.inf if self.spoil == "gradient" else 1e6)
                )
        return features, state
