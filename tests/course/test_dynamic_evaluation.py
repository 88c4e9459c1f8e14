"""Dynamic evaluation against steps made by hand with torch's autograd and SGD."""

from __future__ import annotations

import copy
from itertools import cycle

import numpy as np
import pytest
import torch

from course.dynamic_evaluation import EPSILON, dynamic_nats, root_mean_squares
from models.tokens.special import BOS, CONTEXT_IDS
from tests.models.neural.made_streams import walks
from tests.models.neural.test_neural_lm import V, make

TEXT = np.array([BOS, 8, *np.random.default_rng(4).integers(9, V, 24)])


def exact(name="lstm"):
    return make(name).network.double().eval()


def targets_of(ids):
    return torch.tensor([target if target not in CONTEXT_IDS else -1 for target in ids])


def by_hand(static, ids, segment, step):
    """−Σ log p of a stream, with weights that *step* replaces after each whole segment."""
    network, nats = copy.deepcopy(static), 0.0
    fixed, state = [weight.detach().clone() for weight in network.parameters()], network.start(1, "cpu")
    for begin in range(0, len(ids) - 1, segment):
        targets = ids[begin + 1 : begin + 1 + segment]
        features, state = network(torch.from_numpy(ids[begin : begin + len(targets)])[None], state)
        state = tuple(tensor.detach() for tensor in state)
        nats += float(network.output.nats(features[0].detach(), targets_of(targets)).sum())
        if len(targets) == segment:
            network.zero_grad()
            network.output.loss(features[0], targets_of(targets))[0].div(segment).backward()
            with torch.no_grad():
                for weight, first in zip(network.parameters(), fixed, strict=True):
                    gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
                    weight.copy_(step(weight, gradient, first))
    return nats


@pytest.mark.parametrize("name", ["rnn", "gru-own", "lstm-untied", "lstm-two-level", "nplm"])
def test_steps_of_sgd_are_the_formula(name):
    static = exact(name)
    expected = by_hand(static, TEXT, 5, lambda W, gradient, W_s: W - 0.3 * gradient + 0.05 * (W_s - W))
    nats, tokens = dynamic_nats(static, TEXT, 0.3, 0.05, segment=5)
    assert (nats, tokens) == (pytest.approx(expected, rel=1e-9), len(TEXT) - 2)


def test_steps_by_root_mean_squares_are_the_formula():
    static = exact()
    torch.manual_seed(0)
    rms = [torch.rand_like(weight) for weight in static.parameters()]
    mean, each = torch.cat([r.flatten() for r in rms]).mean(), cycle(rms)

    def step(weight, gradient, first):
        r = next(each)
        return weight - 0.01 * gradient / (r + EPSILON) + (0.6 * r / mean).clamp(max=1) * (first - weight)

    assert dynamic_nats(static, TEXT, 0.01, 0.6, rms, 5)[0] == pytest.approx(by_hand(static, TEXT, 5, step), rel=1e-8)


def test_root_mean_squares_are_those_of_the_minibatches():
    static, ids, segment = exact("gru-own"), walks(12, V, 0).ids.astype(np.int64), 3
    lanes = min(100, (len(ids) - 1) // segment)
    length = (len(ids) - 1) // lanes // segment * segment
    network, squares = copy.deepcopy(static), []
    state = network.start(lanes, "cpu")
    for begin in range(0, length, segment):
        rows = [ids[lane * length + begin : lane * length + begin + segment + 1] for lane in range(lanes)]
        text = torch.from_numpy(np.stack(rows))
        features, state = network(text[:, :-1], tuple(tensor.detach() for tensor in state))
        network.zero_grad()
        targets = targets_of(text[:, 1:].flatten().tolist())
        network.output.loss(features.flatten(0, 1), targets)[0].div(len(targets)).backward()
        squares.append([weight.grad.square() for weight in network.parameters()])
    for r, columns in zip(root_mean_squares(static, ids, segment), zip(*squares, strict=True), strict=True):
        torch.testing.assert_close(r, torch.stack(columns).mean(0).sqrt(), rtol=1e-9, atol=1e-15)
