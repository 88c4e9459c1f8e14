"""The range test: what is read from a curve of known shape, and from real sweeps of a small network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.base import FitContext, ModelError
from models.neural.optimization import rate_finder
from models.neural.optimization.rate_finder import exponential_rates, find_rate, read_curve
from models.neural.recurrent import RecurrentNetwork
from models.neural.training.trainer import train
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from models.streams import unigram_counts
from models.vectors.stored_matrix import save_matrix
from tests.models.neural.made_streams import walks

V = 30
TRAINING = TrainingSpec(
    batch=8, bptt_len=10, precision="float32", seed=5, warmup=0.0, schedule="constant", evaluations=1
)
SPEC = RecurrentSpec(kind="gru", hidden=16, embedding=12, objective=ObjectiveSpec(head=10), training=TRAINING)
STREAM = walks(120, V, 1)


def spec_of(optimizer):
    return replace(SPEC, training=replace(TRAINING, optimizer=optimizer))


def test_rates_rise_by_the_same_factor_from_the_lowest_to_the_highest():
    rates = exponential_rates(1e-5, 10.0, 61)
    assert rates[0] == pytest.approx(1e-5)
    assert rates[-1] == pytest.approx(10.0)
    np.testing.assert_allclose(np.diff(np.log(rates)), np.log(10) / 10)


@pytest.mark.parametrize("wrong", [(0.0, 1.0, 50), (1.0, 1.0, 50), (1.0, 0.1, 50), (1e-3, float("inf"), 50)])
def test_rates_that_do_not_rise_are_refused(wrong):
    with pytest.raises(ModelError, match="rise") as caught:
        exponential_rates(*wrong)
    assert caught.value.kind == "input"


def test_too_few_updates_are_refused():
    with pytest.raises(ModelError, match="at least 20"):
        exponential_rates(1e-3, 1.0, 19)


# --- reading a curve


def curve(rates, falls_at, explodes_at, noise=0.0):
    """Six nats, a smooth fall of two centred on one rate, and a rise by a power law that passes 0.5 at another."""
    rates = np.array(rates)
    nats = 6 - 2 / (1 + (falls_at / rates) ** 2) + 0.5 * (rates / explodes_at) ** 3
    return (nats + noise * np.random.default_rng(0).standard_normal(len(rates))).tolist()


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("falls_at", [1e-4, 1e-3])
def test_the_steepest_fall_and_the_divergence_are_found_where_they_were_put(falls_at, noise):
    rates = exponential_rates(1e-6, 1.0, 400)
    sweep = read_curve(rates, curve(rates, falls_at, 0.1, noise))
    assert sweep.steepest == pytest.approx(falls_at, rel=0.35)
    assert 0.05 < sweep.diverged <= 0.11  # what comes after weighs in, so it is seen a little early
    assert sweep.suggestion == pytest.approx(sweep.diverged / 10, rel=0.05)


def test_smoothing_has_no_lag_and_keeps_a_straight_line():
    rates = exponential_rates(1e-3, 1.0, 101)
    line = np.linspace(5, 3, 101)
    sweep = read_curve(rates, line.tolist())
    np.testing.assert_allclose(sweep.smoothed[40:61], line[40:61], atol=0.02)  # one to the left alone would lag by 0.08


def test_a_sweep_that_stopped_diverged_at_the_rate_that_was_not_survived():
    rates = exponential_rates(1e-3, 1.0, 100)
    sweep = read_curve(rates, [3.0] * 60)
    assert sweep.diverged == rates[60]
    assert sweep.steepest is None
    assert len(sweep.rates) == 60


def test_without_divergence_the_steepest_fall_is_suggested():
    rates = exponential_rates(1e-6, 1e-2, 200)
    sweep = read_curve(rates, curve(rates, 1e-4, 1e9))
    assert sweep.diverged is None
    assert sweep.suggestion == pytest.approx(sweep.steepest, rel=0.05)


def test_a_curve_that_neither_falls_nor_rises_says_so_instead_of_reading_noise():
    rates = exponential_rates(1e-9, 1e-8, 100)
    noise = (3 + 0.05 * np.random.default_rng(1).standard_normal(100)).tolist()
    with pytest.raises(ModelError, match="sweep higher") as caught:
        read_curve(rates, noise)
    assert caught.value.kind == "input"


def test_an_explosion_at_the_start_is_an_error_with_the_rate():
    rates = exponential_rates(10.0, 1e4, 100)
    with pytest.raises(ModelError, match="after 3 updates, at a rate of 12") as caught:
        read_curve(rates, [3.0, 9.0, 30.0])
    assert caught.value.kind == "diverged"


# --- sweeps


@pytest.mark.slow
def test_the_suggestion_learns_faster_than_a_tenth_and_than_the_rate_that_diverged(tmp_path):
    sweep = find_rate(SPEC, STREAM, updates=120)
    assert sweep.diverged is not None
    assert sweep.steepest is not None
    reached = {}
    for rate in (sweep.suggestion / 10, sweep.suggestion, sweep.diverged):
        training = replace(TRAINING, learning_rate=rate, epochs=3)
        torch.manual_seed(0)
        network = RecurrentNetwork(replace(SPEC, training=training), torch.from_numpy(unigram_counts(STREAM, V)))
        work = tmp_path / f"{rate}"
        work.mkdir()
        summary = train(network, STREAM, walks(20, V, 2), training, FitContext(work))
        reached[rate] = summary["validation_nats"]
    assert min(reached, key=lambda rate: reached[rate]) == sweep.suggestion


@pytest.mark.slow
def test_the_first_loss_is_that_of_the_initial_weights_and_the_sweep_is_repeatable():
    before = torch.get_rng_state()
    first, second = (find_rate(SPEC, STREAM, updates=80) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first == second
    counts = unigram_counts(STREAM, V)
    shares = counts[counts > 0] / counts.sum()
    assert first.nats[0] == pytest.approx(-(shares * np.log(shares)).sum(), abs=0.15)  # the bias says the unigram


@pytest.mark.slow
def test_a_sweep_starts_from_the_word_vectors_of_the_fit(tmp_path):
    spec = replace(SPEC, vectors="own", freeze_vectors=True)
    save_matrix(tmp_path, np.full((V, SPEC.embedding), 3.0))
    assert find_rate(spec, STREAM, updates=80, vectors=tmp_path).nats != find_rate(SPEC, STREAM, updates=80).nats
    with pytest.raises(ModelError, match="no word vectors were given"):
        find_rate(spec, STREAM, updates=80)


@pytest.mark.slow
def test_a_rule_of_gradient_descent_is_swept_over_its_own_range_and_stopped_where_it_is_hopeless():
    done = []
    sweep = find_rate(spec_of("sgd"), STREAM, report=lambda number, nats: done.append(number))
    low, high = rate_finder.RANGES["sgd"]
    assert sweep.rates[0] == pytest.approx(low)
    assert done == list(range(1, len(sweep.nats) + 1))
    assert len(sweep.nats) < rate_finder.UPDATES
    assert sweep.diverged is not None
    assert 0.1 < sweep.diverged < high


@pytest.mark.parametrize("clipping", [{"clip": 1e-9}, {"clip_value": 1e-9, "clip": None}])
def test_a_sweep_clips_as_the_fit_does(clipping):
    # No step is longer than 1e-9 times the rate (and the root of the number of weights): nothing is learnt.
    spec = spec_of("sgd")
    with pytest.raises(ModelError, match="neither fell nor rose"):
        find_rate(replace(spec, training=replace(spec.training, **clipping)), STREAM, updates=40)


def test_a_text_shorter_than_the_sweep_is_read_again():
    short = walks(4, V, 3)
    assert len(find_rate(SPEC, short, updates=60).nats) > 30


def test_an_empty_stream_is_refused():
    with pytest.raises(ModelError, match="no token") as caught:
        find_rate(SPEC, _empty())
    assert caught.value.kind == "input"


def _empty():
    stream = walks(1, V, 1)
    stream.tokens = 0
    return stream


def test_a_window_of_another_length_takes_a_step_as_long_as_in_the_fit(monkeypatch):
    """The trainer scales the rate with the window; plain steps of the sweep must be as long for each window."""
    lengths, rates, windows = [], [], rate_finder._windows

    def seen(stream, training):
        for window in windows(stream, training):
            lengths.append(window.x_BT.shape[1])
            yield window

    def step(rule):
        rates.extend(group["lr"] for group in rule.param_groups[:1])

    monkeypatch.setattr(rate_finder, "_windows", seen)
    monkeypatch.setattr("models.neural.optimization.optimizers.SGD.step", step)
    spec = replace(SPEC, training=replace(TRAINING, optimizer="sgd", random_window=True))
    with pytest.raises(ModelError, match="neither fell nor rose"):  # no weight changes, so the curve says nothing
        find_rate(spec, STREAM, 1e-3, 1.0, updates=30)
    assert len(set(lengths)) > 3
    expected = exponential_rates(1e-3, 1.0, 30)
    for length, rate, wanted in zip(lengths, rates, expected, strict=False):
        assert rate == pytest.approx(wanted * length / TRAINING.bptt_len)


@pytest.mark.parametrize(("estimator", "in_nats"), [("exact", True), ("nce", False)])
def test_a_sweep_knows_whether_its_losses_are_nats(estimator, in_nats):
    spec = replace(SPEC, tied=False, objective=ObjectiveSpec(output="softmax", estimator=estimator))
    assert find_rate(spec, STREAM, updates=40).in_nats is in_nats
