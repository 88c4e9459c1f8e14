"""The range test: what is read from a curve of known shape, and a real sweep of a small network."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from course.lr_find import read_curve, sweep_losses
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from models.streams import unigram_counts
from tests.models.neural.made_streams import walks

V = 30


def rates_of(lowest, highest, updates):
    return np.geomspace(lowest, highest, updates).tolist()


def curve(rates, falls_at, explodes_at, noise=0.0):
    """Six nats, a smooth fall of two centred on one rate, and a rise by a power law that passes 0.5 at another."""
    rates = np.array(rates)
    nats = 6 - 2 / (1 + (falls_at / rates) ** 2) + 0.5 * (rates / explodes_at) ** 3
    return (nats + noise * np.random.default_rng(0).standard_normal(len(rates))).tolist()


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("falls_at", [1e-4, 1e-3])
def test_the_steepest_fall_and_the_divergence_are_found_where_they_were_put(falls_at, noise):
    rates = rates_of(1e-6, 1.0, 400)
    sweep = read_curve(rates, curve(rates, falls_at, 0.1, noise))
    assert sweep.steepest == pytest.approx(falls_at, rel=0.35)
    assert 0.05 < sweep.diverged <= 0.11  # what comes after weighs in, so it is seen a little early
    assert sweep.suggestion == pytest.approx(sweep.diverged / 10, rel=0.05)


@pytest.mark.slow
def test_a_sweep_begins_at_the_initial_weights_and_ends_where_the_loss_explodes():
    training = TrainingSpec(batch=8, bptt_len=10, precision="float32", seed=5, weight_decay=0.0)
    spec = RecurrentSpec(kind="gru", hidden=16, embedding=12, objective=ObjectiveSpec(head=10), training=training)
    rates, stream = rates_of(1e-5, 1e3, 120), walks(120, V, 1)
    first, again = (sweep_losses(spec, stream, rates) for _ in range(2))
    assert first == again
    counts = unigram_counts(stream, V)
    shares = counts[counts > 0] / counts.sum()
    assert first[0] == pytest.approx(-(shares * np.log(shares)).sum(), abs=0.15)  # the bias says the unigram
    assert min(first) < first[0] - 0.3
    found = read_curve(rates, first)
    assert 1e-2 < found.diverged < 1e3
    sgd = sweep_losses(replace(spec, training=replace(training, optimizer="sgd")), stream, rates_of(1e-3, 1e3, 120))
    assert math.isfinite(max(sgd))
