"""Averages of the weights within a training: what is evaluated, what comes out, and when averaging begins."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from reviewlm.training.neural import trainer
from reviewlm.training.neural.state import TrainingState
from reviewlm.training.neural.validation import validation_nats
from tests.models.neural.made_trainings import TRAINING, VALIDATION, run

EMA = replace(TRAINING, ema=0.9, evaluations=2)
NT_ASGD = replace(
    TRAINING,
    optimizer="nt_asgd",
    learning_rate=0.5,
    evaluations=13,
    schedule="constant",
    warmup=0.0,
)


@contextmanager
def weights_after_each_step():
    """Yield a list that fills with the network's weights (float64) after every step of a training."""
    found, after = [], TrainingState.after_step

    def spy(self):
        found.append([parameter.detach().double().clone() for parameter in self.parameters])
        after(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "after_step", spy)
        yield found


def assert_close(network, expected):
    for parameter, mean in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.double(), mean, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory):
    """Train with an exponential average; give the weights after each step, the network that came out and the summary."""
    with weights_after_each_step() as weights:
        network, summary = run(tmp_path_factory.mktemp("averaged"), training=EMA)
    return weights, network, summary


def test_the_best_of_the_averaged_training_is_its_end(averaged):
    _, _, summary = averaged

    assert summary["best_tokens"] == summary["tokens"]


def test_what_comes_out_is_the_exponential_average_of_all_weights(averaged):
    weights, network, _ = averaged
    last = len(weights) - 1
    shares = [0.1 * 0.9 ** (last - i) / (1 - 0.9 ** len(weights)) for i in range(len(weights))]
    expected = [
        sum(s * w for s, w in zip(shares, each, strict=True)) for each in zip(*weights, strict=True)
    ]

    assert_close(network, expected)


def test_what_comes_out_is_what_was_measured(averaged):
    _, network, summary = averaged

    assert validation_nats(network, VALIDATION)[0] == summary["best_validation_nats"]


def test_nt_asgd_averages_from_the_evaluation_that_shows_no_progress_on(tmp_path, monkeypatch):
    """Of 13 evaluations the 8th is the first that is above the best of those more than 5 back (the 2nd)."""
    script = iter([4.3, 4.0, 4.5, 4.4, 4.3, 4.2, 3.9, 4.1, 3.8, 3.7, 3.6, 3.5, 3.4, 3.0])
    monkeypatch.setattr(trainer, "validation_nats", lambda *arguments, **options: (next(script), 1))
    with weights_after_each_step() as weights:
        network, summary = run(tmp_path, training=NT_ASGD)
    assert summary["updates"] == len(weights) == 52
    late = weights[8 * 4 :]
    assert_close(network, [sum(each) / len(late) for each in zip(*late, strict=True)])
