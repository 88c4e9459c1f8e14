"""The gradient of a window: the same however many streams are read at a time, and with penalties as printed."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.training.neural.sampled_output import training_output
from reviewlm.training.neural.tbptt import Memory, activation_penalty, add_gradients
from tests.marked_cases import long_but
from tests.models.neural.made_trainings import V

B, T = 5, 8
CPU = torch.device("cpu")
ESTIMATORS = ["sampled", "nce"]
PENALTIES = {"activation_penalty": 0.7, "temporal_penalty": 0.4}


def network_of(
    kind="lstm",
    dtype=torch.float64,
    output="softmax",
    dropout=0.0,
    **training,
):
    torch.manual_seed(2)
    if output in ESTIMATORS:
        objective = ObjectiveSpec("softmax", estimator=output, samples=12)
    else:
        objective = ObjectiveSpec(output, head=8) if output == "adaptive" else ObjectiveSpec(output)
    spec = RecurrentSpec(
        kind=kind,
        hidden=7,
        embedding=6,
        layers=2,
        dropout=dropout,
        objective=objective,
        training=TrainingSpec(
            precision="float32",
            bptt_len=T,
            **training,
        ),
    )
    network = RecurrentNetwork(spec, torch.arange(V)).to(dtype)
    network.output = training_output(network.output, objective, torch.arange(V))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    return network.train(), spec.training


def windows(count):
    """Tokens of which each stream scores another share, from all of them to none."""
    generator = torch.Generator().manual_seed(4)
    for _ in range(count):
        x_BT, y_BT = (torch.randint(9, V, (B, T), generator=generator) for _ in range(2))
        scored_BT = torch.rand(B, T, generator=generator) < torch.linspace(1, 0, B)[:, None]
        yield x_BT, torch.where(scored_BT, y_BT, -1)


def gradients(
    network,
    training,
    micro_batch,
    count=3,
):
    """All gradients of some windows, weights held still; in the second window two streams forget."""
    memory, found = Memory.empty(network, B, CPU), []
    for index, (x_BT, y_BT) in enumerate(windows(count)):
        network.zero_grad(set_to_none=True)
        keep_B = torch.tensor([True, False, True, True, False]) if index == 1 else None
        sums, memory = add_gradients(
            network,
            memory,
            x_BT,
            y_BT,
            keep_B,
            training,
            micro_batch,
        )
        assert sums.tokens == int((y_BT >= 0).sum())
        grads = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        found.append((sums.nats, torch.cat(grads)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("kind", long_but(["rnn", "gru", "lstm"], {"lstm"}))
@pytest.mark.parametrize("output", ["softmax", "adaptive"])
@pytest.mark.parametrize(
    "options",
    # With the third, the past of the last window reaches back beyond where streams forgot.
    [{}, {"bptt_grad_len": T + 5}, {"bptt_grad_len": 2 * T + 5}, PENALTIES],
    ids=["k2 = k1", "k2 > k1", "k2 > 2 k1", "penalties"],
)
def test_accumulated_gradients_are_those_of_the_whole_batch(
    dtype,
    tolerance,
    kind,
    output,
    options,
):
    network, training = network_of(kind, dtype, output, **options)
    whole = gradients(network, training, B)
    for micro_batch in (1, 2, 3):
        parts = gradients(network, training, micro_batch)
        for (nats, own), (expected_nats, expected) in zip(parts, whole, strict=True):
            assert nats == pytest.approx(expected_nats, rel=tolerance)
            scale = float(expected.abs().max())
            torch.testing.assert_close(
                own / scale, expected / scale, rtol=tolerance, atol=tolerance
            )


# --- penalties


def test_the_penalties_are_the_formulas_of_their_paper():
    """α mean(h²) of what dropout has left, β mean((h_t − h_{t+1})²) of what it had."""
    draws = np.random.default_rng(0)
    dropped, raw = draws.normal(size=(3, 5, 4)), draws.normal(size=(3, 5, 4))
    alpha = (
        0.7 * sum(dropped[b, t, h] ** 2 for b in range(3) for t in range(5) for h in range(4)) / 60
    )
    beta = (
        0.4
        * sum(
            (raw[b, t, h] - raw[b, t + 1, h]) ** 2
            for b in range(3)
            for t in range(4)
            for h in range(4)
        )
        / 48
    )
    found = activation_penalty(
        TrainingSpec(**PENALTIES), (torch.from_numpy(dropped), torch.from_numpy(raw))
    )
    assert float(found) == pytest.approx(alpha + beta, rel=1e-12)


@pytest.mark.parametrize("past", [0, 3])
def test_penalties_enter_the_gradient_but_not_the_reported_nats(past):
    """Against autograd of mean nats + α mean(h²) + β mean((h_t − h_{t+1})²), all over the positions of the window."""
    network, training = network_of(bptt_grad_len=T + past, **PENALTIES)
    (x_BT, y_BT), (next_BT, next_y_BT) = windows(2)
    memory = Memory.empty(network, B, CPU)
    _, memory = add_gradients(
        network,
        memory,
        x_BT,
        y_BT,
        None,
        training,
        B,
    )
    network.zero_grad()
    sums, _ = add_gradients(
        network,
        memory,
        next_BT,
        next_y_BT,
        None,
        training,
        B,
    )
    own = torch.cat([p.grad.flatten() for p in network.parameters()]) / next_y_BT.numel()

    network.zero_grad()
    with torch.no_grad():
        _, state = network(x_BT[:, : T - past], network.start(B, CPU))
    features_BTE, _ = network(torch.cat([x_BT[:, T - past :], next_BT], 1), state)
    logits = F.linear(features_BTE[:, past:], network.output.weight, network.output.bias)
    logits = logits.masked_fill(network.output.given_V, -torch.inf)
    nats = F.cross_entropy(
        logits.flatten(0, 1), next_y_BT.flatten(), ignore_index=-1, reduction="sum"
    )
    h_BTH = network.last_layer[1][:, past:]
    differences = (h_BTH[:, 1:] - h_BTH[:, :-1]).square().mean()
    (nats / next_y_BT.numel() + 0.7 * h_BTH.square().mean() + 0.4 * differences).backward()
    expected = torch.cat([p.grad.flatten() for p in network.parameters()])
    torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-12)
    assert sums.nats == pytest.approx(nats.item(), rel=1e-12)
