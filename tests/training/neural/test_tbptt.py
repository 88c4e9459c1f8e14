"""Truncated back-propagation: carried state, cut gradient, k1 and k2, against a plain unrolled oracle."""

import pytest
import torch
from torch.nn import functional as F

from models.neural.recurrent import RecurrentNetwork
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from training.neural.tbptt import Memory, read_window

V, B, L = 20, 3, 24
CPU = torch.device("cpu")


def make(kind="lstm", layers=1):
    torch.manual_seed(2)
    spec = RecurrentSpec(
        kind=kind, hidden=5, embedding=4, layers=layers, dropout=0.0, cells="reference",
        objective=ObjectiveSpec("softmax"), training=TrainingSpec(precision="float32"),
    )
    network = RecurrentNetwork(spec, torch.ones(V)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    return network.train()


def tokens():
    generator = torch.Generator().manual_seed(4)
    return torch.randint(9, V, (B, L), generator=generator), torch.randint(9, V, (B, L), generator=generator)


def loss_of(network, features_BTE, y_BT):
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


def through_windows(network, k1, k2, keep=None):
    """The gradient of every window, weights held still."""
    found, memory = [], Memory.empty(network, B, CPU)
    for x_BT, y_BT, keep_B in windows(k1, keep):
        reading, memory = read_window(network, memory, x_BT, keep_B, k2 - k1)
        found.append(gradient(network, loss_of(network, reading.features_BTE, y_BT)))
    return found


def oracle(network, k1, k2, keep=None):
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
                state = tuple(s * keep_B.to(s.dtype).view(1, -1, *[1] * (s.dim() - 2)) for s in state)
            with torch.set_grad_enabled(t >= end - k2):
                feature, state = network(x_BT[:, t : t + 1], state)
            features.append(feature)
        found.append(gradient(network, loss_of(network, torch.cat(features[end - k1 :], 1), y_BT[:, end - k1 : end])))
    return found


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("k1", "k2"), [(L, L), (6, 6), (6, 12), (6, 9), (6, 8), (4, 24), (1, 1), (1, 7), (8, 21)])
def test_the_gradient_of_each_window_is_the_oracles(kind, k1, k2):
    network = make(kind, layers=2)
    for own, expected in zip(through_windows(network, k1, k2), oracle(network, k1, k2), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("k1", "k2"), [(L, L), (6, L), (4, L), (3, L), (5, 100)])
def test_with_k2_as_long_as_the_text_the_windows_add_up_to_full_back_propagation(k1, k2):
    network = make()
    x_BT, y_BT = tokens()
    features_BTE, _ = network(x_BT, network.start(B, CPU))
    full = gradient(network, loss_of(network, features_BTE, y_BT))
    torch.testing.assert_close(sum(through_windows(network, k1, k2)), full, rtol=1e-12, atol=1e-12)


def test_with_a_window_as_long_as_the_text_it_is_full_back_propagation_to_the_last_bit():
    network = make()
    x_BT, y_BT = tokens()
    features_BTE, _ = network(x_BT, network.start(B, CPU))
    full = gradient(network, loss_of(network, features_BTE, y_BT))
    assert torch.equal(through_windows(network, L, L)[0], full)


def test_a_short_window_loses_gradient_but_no_state():
    network = make()
    x_BT, y_BT = tokens()
    features_BTE, _ = network(x_BT, network.start(B, CPU))
    full = gradient(network, loss_of(network, features_BTE, y_BT))
    assert not torch.allclose(sum(through_windows(network, 6, 6)), full, rtol=1e-3)
    carried, memory = [], Memory.empty(network, B, CPU)
    for window_BT, _, _ in windows(6):
        reading, memory = read_window(network, memory, window_BT, None, 0)
        carried.append(reading.features_BTE)
    carried = torch.cat(carried, 1)
    torch.testing.assert_close(carried, features_BTE, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("k1", "k2"), [(6, 6), (6, 12), (6, 9), (4, 24), (3, 7)])
def test_a_stream_that_is_put_back_to_its_start_stays_so_when_it_is_read_again(k1, k2):
    keep = {1: torch.tensor([True, False, True]), 2: torch.tensor([False, False, True])}
    network = make()
    for own, expected in zip(through_windows(network, k1, k2, keep), oracle(network, k1, k2, keep), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-12)


def test_a_window_may_be_read_again_from_the_same_memory():
    network = make()
    keep_B, memory = torch.tensor([True, False, True]), Memory.empty(network, B, CPU)
    x_BT, _ = tokens()
    _, memory = read_window(network, memory, x_BT[:, :6], None, 5)
    first, after = read_window(network, memory, x_BT[:, 6:12], keep_B, 5)
    again, same = read_window(network, memory, x_BT[:, 6:12], keep_B, 5)
    assert torch.equal(first.features_BTE, again.features_BTE)
    assert all(torch.equal(one, two) for one, two in zip(after.state, same.state, strict=True))


def test_what_is_remembered_can_be_put_away_and_filled_in():
    network = make()
    memory = Memory.empty(network, B, CPU)
    for x_BT, _, keep_B in windows(6, {1: torch.tensor([True, False, True])}):
        copy = Memory.of({name: tensor.clone() for name, tensor in memory.tensors().items()}, CPU)
        again, _ = read_window(network, copy, x_BT, keep_B, 9)
        reading, memory = read_window(network, memory, x_BT, keep_B, 9)
        assert torch.equal(again.features_BTE, reading.features_BTE)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("rows", [1, 2])
def test_streams_read_apart_and_joined_are_the_streams_read_together(kind, rows):
    network, parts = make(kind, layers=2), [slice(at, min(at + rows, B)) for at in range(0, B, rows)]
    whole = apart = Memory.empty(network, B, CPU)
    for x_BT, _, keep_B in windows(6, {1: torch.tensor([True, False, True])}):
        together, whole = read_window(network, whole, x_BT, keep_B, 9)
        pieces = [
            read_window(network, apart.rows(part), x_BT[part], None if keep_B is None else keep_B[part], 9)
            for part in parts
        ]
        apart = Memory.join([memory for _, memory in pieces])
        features_BTE = torch.cat([reading.features_BTE for reading, _ in pieces])
        torch.testing.assert_close(features_BTE, together.features_BTE, rtol=1e-12, atol=1e-12)
        for one, two in zip(apart.tensors().values(), whole.tensors().values(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
