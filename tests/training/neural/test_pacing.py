"""A paced training stops before its decay, and is then exactly a training whose options say that length."""

import shutil
from dataclasses import replace

import pytest
import torch

from reviewlm.models.specs import TrainingSpec
from reviewlm.training.context import FitContext, Pace
from reviewlm.training.neural import pacing, progress
from reviewlm.training.neural.batches import Plan
from reviewlm.training.neural.learning_rates import decay_start, learning_rate
from reviewlm.training.neural.trainer import CHECKPOINTS, PAUSED, train
from tests.models.neural.made_trainings import (
    SPEC,
    TRAIN,
    TRAINING,
    VALIDATION,
    curve,
    network_of,
    run,
)

TRAPEZOID = replace(
    TRAINING,
    schedule="trapezoid",
    epochs=8,
    warmup=0.02,
    final_rate=0.0,
    evaluations=4,
)
UPDATES = Plan(TRAIN, TRAPEZOID).updates


class Clock:
    """Clock that goes on by one second whenever it is read."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now


def paced(
    folder,
    monkeypatch,
    pace,
    training=TRAPEZOID,
):
    """Return the summary of a paced training by this clock."""
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    monkeypatch.setattr(progress, "time", clock)
    folder.mkdir()
    network = network_of(replace(SPEC, training=training))
    return train(
        network,
        TRAIN,
        VALIDATION,
        training,
        FitContext(folder, pace=pace),
    )


def shorter(summary, training=TRAPEZOID):
    return replace(training, epochs=summary["epochs"], warmup=summary["warmup"])


def test_a_trapezoid_has_its_rates_at_its_corners():
    training = TrainingSpec(
        learning_rate=0.5,
        warmup=0.2,
        final_rate=0.1,
        schedule="trapezoid",
    )
    rates = [learning_rate(training, update, 10) for update in range(10)]
    assert rates == pytest.approx([0.25, *[0.5] * 7, 0.275, 0.05])


def test_it_stops_in_time_for_its_decay(tmp_path, monkeypatch):
    summary = paced(tmp_path / "a", monkeypatch, Pace(seconds=UPDATES / 2, evaluations=2))
    assert summary["stopped_by_time"] == 1
    steady, total = summary["updates"], summary["all_updates"]
    assert steady == decay_start(shorter(summary), total) < total < UPDATES


def test_a_faster_machine_makes_more_updates(tmp_path, monkeypatch):
    expected = {
        "slower": 1e12,
        "as expected": 0.0,
        "faster": 1e-12,
    }  # tokens per second
    pace = Pace(
        seconds=UPDATES / 2,
        evaluations=2,
        after=UPDATES / 16,
    )
    made = [
        paced(tmp_path / name, monkeypatch, replace(pace, tokens_per_second=speed))["updates"]
        for name, speed in expected.items()
    ]
    assert made[0] < made[1] < made[2]


@pytest.mark.slow
def test_resumed_or_from_the_beginning_the_shortened_training_makes_the_same_weights(
    tmp_path, monkeypatch
):
    summary = paced(tmp_path / "a", monkeypatch, Pace(seconds=UPDATES / 2, evaluations=2))
    training = shorter(summary)
    (resumed := tmp_path / "resumed").mkdir()
    shutil.move(tmp_path / "a" / PAUSED, resumed / CHECKPOINTS)
    shutil.copy(tmp_path / "a" / "metrics.jsonl", resumed)
    one, continued = run(resumed, training=training)
    other, whole = run(tmp_path / "b", training=training)
    assert continued["updates"] == whole["updates"] == summary["all_updates"]
    # It did not begin again.
    assert len(curve(resumed, "learning_rate")) < summary["all_updates"] + summary["updates"]
    assert continued["validation_nats"] == whole["validation_nats"]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
