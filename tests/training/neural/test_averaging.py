"""Averages of weights against sums written out, torch's ASGD, and the trigger against algorithm 1 by hand."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from tests.examples import examples
from training.neural.optimization.averaging import NonMonotonicTrigger, WeightAverage
from training.neural.state import TrainingState


def parameters_of(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in [(3, 2), (4,)]]


def walk(parameters, steps, average=None, seed=1):
    """Change the weights at random; return what they were after each step."""
    generator = torch.Generator().manual_seed(seed)
    path = []
    for _ in range(steps):
        with torch.no_grad():
            for parameter in parameters:
                parameter += torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        path.append([parameter.detach().clone() for parameter in parameters])
        if average:
            average.update()
    return path


def test_equal_weights_give_the_arithmetic_mean_of_all_weights_since_the_first_update():
    parameters = parameters_of()
    average = WeightAverage(parameters)
    path = walk(parameters, 37, average)
    for found, *visited in zip(average.weights(), *path, strict=True):
        torch.testing.assert_close(found, torch.stack(visited).mean(0), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_exponential_average_weighs_the_past_by_powers_of_its_decay_and_the_shares_sum_to_one(decay):
    parameters = parameters_of()
    average = WeightAverage(parameters, decay)
    path = walk(parameters, 25, average)
    shares = np.array([decay**age for age in range(24, -1, -1)]) if decay else np.eye(25)[-1]
    shares = torch.from_numpy(shares / shares.sum())
    for found, *visited in zip(average.weights(), *path, strict=True):
        expected = torch.tensordot(shares, torch.stack(visited), 1)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_polyak_averaging_equals_torch_asgd_whose_first_step_only_copies():
    """torch.optim.ASGD begins its mean with the second iterate, so the first one is left out of ours.

    Its shares are kept in float32, hence the bound.
    """
    ours, theirs = parameters_of(), parameters_of()
    reference = torch.optim.ASGD(theirs, lr=0.05, lambd=0.0, alpha=0.0, t0=0)
    average = WeightAverage(ours)
    for step in range(60):
        for mine, other in zip(ours, theirs, strict=True):
            gradient = 2 * (other.detach() - 1) + 0.1 * step
            other.grad = gradient
            with torch.no_grad():
                mine -= 0.05 * gradient
        reference.step()
        if step >= 1:
            average.update()
    for found, other in zip(average.weights(), theirs, strict=True):
        torch.testing.assert_close(found, reference.state[other]["ax"], rtol=0, atol=1e-7)


def test_the_mean_of_noisy_steps_is_nearer_to_the_optimum_than_the_last_weights():
    generator = torch.Generator().manual_seed(3)
    weight = nn.Parameter(torch.full((200,), 5.0))
    average = WeightAverage([weight])
    for step in range(400):
        with torch.no_grad():
            weight -= 0.3 * (weight + torch.randn(200, generator=generator))
        if step >= 100:
            average.update()
    assert average.weights()[0].norm() < 0.3 * weight.detach().norm()


def test_within_the_block_the_parameters_are_the_average_and_afterwards_the_very_weights_again():
    parameters = parameters_of(dtype=torch.float32)
    average = WeightAverage(parameters, 0.9)
    last = walk(parameters, 9, average)[-1]
    mean = [tensor.clone() for tensor in average.weights()]
    with average.applied():
        assert all(torch.equal(parameter, tensor) for parameter, tensor in zip(parameters, mean, strict=True))
    with pytest.raises(KeyError), average.applied():
        {}["an error within"]
    assert all(torch.equal(parameter, tensor) for parameter, tensor in zip(parameters, last, strict=True))
    assert all(torch.equal(tensor, kept) for tensor, kept in zip(average.weights(), mean, strict=True))


def test_before_its_first_update_an_average_changes_nothing():
    parameters = parameters_of()
    average = WeightAverage(parameters, 0.9)
    walk(parameters, 3)
    before = [parameter.detach().clone() for parameter in parameters]
    with average.applied():
        assert all(torch.equal(parameter, kept) for parameter, kept in zip(parameters, before, strict=True))
    assert all(torch.equal(found, kept) for found, kept in zip(average.weights(), before, strict=True))


@pytest.mark.parametrize("decay", [None, 0.97])
@pytest.mark.parametrize("cut", [0, 1, 12])
def test_going_on_from_a_checkpoint_gives_the_same_average_to_the_last_bit(decay, cut):
    whole, halves = parameters_of(dtype=torch.float32), parameters_of(dtype=torch.float32)
    undisturbed = WeightAverage(whole, decay)
    walk(whole, cut, undisturbed)
    walk(whole, 20, undisturbed, seed=2)
    first = WeightAverage(halves, decay)
    walk(halves, cut, first)
    kept = {name: tensor.clone() for name, tensor in first.tensors().items()}
    second = WeightAverage(halves, decay)
    second.update()  # what it held before does not count
    second.fill(kept)
    walk(halves, 20, second, seed=2)
    assert second.count == undisturbed.count == cut + 20
    for found, expected in zip(second.weights(), undisturbed.weights(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(ValueError, match="decay"):
        WeightAverage(parameters_of(), decay)


# --- the trigger


def fired_at(measured, patience):
    trigger = NonMonotonicTrigger(patience)
    return [number for number, nats in enumerate(measured) if trigger.observe(nats)]


def test_it_fires_once_where_a_measurement_is_above_the_lowest_of_those_more_than_n_back():
    assert fired_at([9, 8, 7, 7.5, 7.4, 7.3, 7.2, 9], 2) == [5]  # 7.3 > min(9, 8, 7); 7.4 only against 9, 8
    assert fired_at([9, 8, 7, 6, 5, 4, 3, 2], 2) == []
    assert fired_at([5, 5, 5, 5, 5], 1) == []  # as good is not worse
    assert fired_at([1, 2, 2, 2, 2, 2, 2], 5) == [6]  # the earliest: measurement n + 2


@examples(60)
@given(st.lists(st.floats(0, 10), max_size=25), st.integers(1, 6), st.integers(0, 25))
def test_it_is_the_condition_written_out_and_its_state_passes_through_json(measured, patience, cut):
    expected = next(
        (t for t, v in enumerate(measured) if t > patience and v > min(measured[: t - patience])), None
    )  # fmt: skip
    trigger, seen = NonMonotonicTrigger(patience), []
    for number, nats in enumerate(measured):
        if number == cut:
            facts = json.loads(json.dumps(trigger.facts()))
            trigger = NonMonotonicTrigger(patience)
            trigger.fill(facts)
        if trigger.observe(nats):
            seen.append(number)
    assert seen == ([] if expected is None else [expected])
    assert trigger.fired == (expected is not None)


def test_a_patience_below_one_is_refused():
    with pytest.raises(ValueError, match="patience"):
        NonMonotonicTrigger(0)


def test_the_trainer_lets_the_average_begin_after_as_many_evaluations_as_the_option_says():
    network = RecurrentNetwork(
        RecurrentSpec(hidden=2, embedding=2, objective=ObjectiveSpec(head=3)), torch.ones(12).long()
    )
    state = TrainingState(network, TrainingSpec(optimizer="nt_asgd", patience=2))
    fired = [state.trigger.observe(nats) for nats in (3.0, 4.0, 4.0, 4.0)]
    assert fired == [False, False, False, True]
    state.after_step()
    assert state.average.count == 1
    with pytest.raises(ValueError, match="patience"):
        TrainingSpec(patience=0)
