"""Averages of weights against sums written out, torch's ASGD, and the trigger against algorithm 1 by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.training.neural.averaging import WeightAverage
from reviewlm.training.neural.state import TrainingState


def parameters_of(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [
        nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype))
        for shape in [(3, 2), (4,)]
    ]


def walk(
    parameters,
    steps,
    average=None,
    seed=1,
):
    """Change the weights at random; return what they were after each step."""
    generator = torch.Generator().manual_seed(seed)
    path = []
    for _ in range(steps):
        with torch.no_grad():
            for parameter in parameters:
                parameter += torch.randn(
                    parameter.shape, generator=generator, dtype=parameter.dtype
                )
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
def test_the_exponential_average_weighs_the_past_by_powers_of_its_decay(
    decay,
):
    parameters = parameters_of()
    average = WeightAverage(parameters, decay)
    path = walk(parameters, 25, average)
    shares = np.array([decay**age for age in range(24, -1, -1)]) if decay else np.eye(25)[-1]
    shares = torch.from_numpy(shares / shares.sum())
    for found, *visited in zip(average.weights(), *path, strict=True):
        expected = torch.tensordot(shares, torch.stack(visited), 1)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


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


# --- the trigger


def test_the_trainer_lets_the_average_begin_seven_evaluations_after_the_best():
    network = RecurrentNetwork(
        RecurrentSpec(
            hidden=2,
            embedding=2,
            objective=ObjectiveSpec(head=3),
        ),
        torch.ones(12).long(),
    )
    state = TrainingState(network, TrainingSpec(optimizer="nt_asgd"))
    fired = [state.trigger.observe(nats) for nats in (3.0, *[4.0] * 6)]
    assert fired == [False] * 6 + [True]
    state.after_step()
    assert state.average.count == 1
