"""Truncated back-propagation: carried state, cut gradient, k1 and k2, against a plain unrolled oracle."""

import pytest
import torch
from torch.nn import functional as F

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.training.neural.tbptt import Memory, read_window

V, B, L = 20, 3, 24
CPU = torch.device("cpu")


def make(kind="lstm", layers=1):
    torch.manual_seed(2)
    spec = RecurrentSpec(
        kind=kind,
        hidden=5,
        embedding=4,
        layers=layers,
        dropout=0.0,
        cells="reference",
        objective=ObjectiveSpec("softmax"),
        training=TrainingSpec(precision="float32"),
    )
    network = RecurrentNetwork(spec, torch.ones(V)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    return network.train()


def tokens():
    generator = torch.Generator().manual_seed(4)
    return torch.randint(9, V, (B, L), generator=generator), torch.randint(
        9, V, (B, L), generator=generator
    )


def loss_of(
    network,
    features_BTE,
    y_BT,
):
    """Cross-entropy by autograd alone: the oracle shares no code with the output layer."""
    logits = F.linear(features_BTE, network.output.weight, network.output.bias)
    return F.cross_entropy(logits.flatten(0, 1), y_BT.flatten(), reduction="sum")


def gradient(network, loss):
    network.zero_grad(set_to_none=True)
    loss.backward()
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).clone()


def windows(k1, keep=None):
    x_BT, y_BT = tokens()
    for index, at in enumerate(range(0, L, k1)):
        yield x_BT[:, at : at + k1], y_BT[:, at : at + k1], (keep or {}).get(index)


def through_windows(
    network,
    k1,
    k2,
    keep=None,
):
    """The gradient of every window, weights held still."""
    found, memory = [], Memory.empty(network, B, CPU)
    for x_BT, y_BT, keep_B in windows(k1, keep):
        reading, memory = read_window(
            network,
            memory,
            x_BT,
            keep_B,
            k2 - k1,
        )
        found.append(gradient(network, loss_of(network, reading.features_BTE, y_BT)))
    return found


def oracle(
    network,
    k1,
    k2,
    keep=None,
):
    """For each window: all states from the start, token by token; cut k2 tokens before the window's end."""
    x_BT, y_BT = tokens()
    found = []
    for end in range(k1, L + 1, k1):
        state, features = network.start(B, CPU), []
        for t in range(end):
            if t == end - k2:
                state = tuple(s.detach() for s in state)
            if t % k1 == 0 and keep and t // k1 in keep:
                keep_B = keep[t // k1]
                state = tuple(
                    s * keep_B.to(s.dtype).view(1, -1, *[1] * (s.dim() - 2)) for s in state
                )
            with torch.set_grad_enabled(t >= end - k2):
                feature, state = network(x_BT[:, t : t + 1], state)
            features.append(feature)
        found.append(
            gradient(
                network,
                loss_of(network, torch.cat(features[end - k1 :], 1), y_BT[:, end - k1 : end]),
            )
        )
    return found


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(
    ("k1", "k2"), [(L, L), (6, 6), (6, 12), (6, 9), (6, 8), (4, 24), (1, 1), (1, 7), (8, 21)]
)
def test_the_gradient_of_each_window_is_the_oracles(
    kind,
    k1,
    k2,
):
    network = make(kind, layers=2)
    for own, expected in zip(
        through_windows(network, k1, k2), oracle(network, k1, k2), strict=True
    ):
        torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-12)


def test_a_short_window_loses_gradient_but_no_state():
    network = make()
    x_BT, y_BT = tokens()
    features_BTE, _ = network(x_BT, network.start(B, CPU))
    full = gradient(network, loss_of(network, features_BTE, y_BT))
    assert not torch.allclose(sum(through_windows(network, 6, 6)), full, rtol=1e-3)
    carried, memory = [], Memory.empty(network, B, CPU)
    for window_BT, _, _ in windows(6):
        reading, memory = read_window(
            network,
            memory,
            window_BT,
            None,
            0,
        )
        carried.append(reading.features_BTE)
    carried = torch.cat(carried, 1)
    torch.testing.assert_close(carried, features_BTE, rtol=1e-12, atol=1e-12)
