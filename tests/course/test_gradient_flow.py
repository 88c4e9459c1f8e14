"""Gradients by distance: closed forms of linear networks, numeric differences, gates that keep everything."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from course.gradient_flow import GradientFlow, beginnings, each_cell, gradient_flow, relu_activity, untrained
from models.base import ModelError
from models.neural.network import Network
from models.neural.nplm import NPLMNetwork
from models.neural.output import build_output
from models.neural.recurrent import RecurrentNetwork
from models.specs import NPLMSpec, ObjectiveSpec, RecurrentSpec, TrainingSpec
from models.tokens.special import BOS
from tests.models.neural.made_streams import stream_of

V, H = 40, 12
SOFTMAX, FLOAT32 = ObjectiveSpec(output="softmax"), TrainingSpec(precision="float32")


def with_spectral_radius(rho, size=H, seed=1):
    matrix = torch.from_numpy(np.random.default_rng(seed).normal(size=(size, size)))
    return matrix * rho / torch.linalg.eigvals(matrix).abs().max()


class Linear(Network):
    """h_t = W_h h_{t−1} + C[w_t], y_t = V h_t."""

    def __init__(self, W_HH):
        super().__init__()
        torch.manual_seed(1)
        self.W_HH = nn.Parameter(W_HH.double())
        self.C_VH = nn.Parameter(torch.randn(V, len(W_HH), dtype=torch.float64))
        rows = nn.Parameter(torch.randn(V, len(W_HH), dtype=torch.float64))
        self.output = build_output(SOFTMAX, rows, torch.ones(V))

    def start(self, batch, device):
        return (torch.zeros(1, batch, len(self.W_HH), dtype=torch.float64, device=device),)

    def forward(self, ids_BT, state):
        h_BH, outputs = state[0][0], []
        for column_B in ids_BT.unbind(1):
            h_BH = h_BH @ self.W_HH.T + self.C_VH[column_B]
            outputs.append(h_BH)
        return torch.stack(outputs, 1), (h_BH[None],)


def make(kind="lstm", **options):
    torch.manual_seed(1)
    fixed = {"hidden": H, "embedding": 8, "dropout": 0.3, "objective": SOFTMAX, "training": FLOAT32}
    return RecurrentNetwork(RecurrentSpec(kind=kind, **(fixed | options)), torch.ones(V))


def random_ids(streams, tokens, seed=2):
    return np.random.default_rng(seed).integers(9, V, (streams, tokens))


@pytest.mark.parametrize("rho", [0.7, 0.95, 1.0, 1.05])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_slope_of_a_linear_network_is_the_logarithm_of_its_spectral_radius(rho, seed):
    flow = gradient_flow(Linear(with_spectral_radius(rho, seed=seed)), random_ids(4, 92), 80)["h"]
    assert flow.decay(first=20).slope == pytest.approx(math.log(rho), rel=0.05, abs=0.005)


def test_of_a_linear_network_the_gradient_is_a_power_of_its_matrix_exactly():
    """∂J(i)/∂h(j) = (Wᵀ)^ℓ Vᵀ (p − onehot), with p from a softmax written out in numpy."""
    network, ids = Linear(with_spectral_radius(0.8)), random_ids(3, 9)
    W, C, rows = (tensor.detach().numpy() for tensor in (network.W_HH, network.C_VH, network.output.weight))
    bias = network.output.bias.detach().numpy().astype(float)
    expected = []
    for i in range(5, 8):
        for stream in ids:
            h = np.zeros(H)
            for word in stream[: i + 1]:
                h = W @ h + C[word]
            logits = rows @ h + bias
            logits[[1, 3, 4, 5, 6, 7, 8]] = -np.inf
            p = np.exp(logits - logits.max())
            p /= p.sum()
            p[stream[i + 1]] -= 1
            gradient = rows.T @ p
            expected.append([np.linalg.norm(np.linalg.matrix_power(W.T, ell) @ gradient) for ell in range(1, 6)])
    np.testing.assert_allclose(gradient_flow(network, ids, 5)["h"].norms_ND, expected, rtol=1e-6)


def test_a_tanh_network_at_rest_is_linear_and_follows_the_same_law():
    """Without input h stays 0, where tanh' = 1: every Jacobian is W_h itself."""
    network = make("rnn", tied=False)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(("embedding", "layers")):
                parameter.zero_()
        network.layers[0].weight_hh_l0.copy_(with_spectral_radius(0.9))
    flow = gradient_flow(network, random_ids(4, 72), 60)["h"]
    assert flow.decay(first=20).slope == pytest.approx(math.log(0.9), rel=0.05)
    assert flow.decay(first=20).half_length == pytest.approx(math.log(2) / -math.log(0.9), rel=0.05)


@pytest.mark.parametrize("cells", ["reference", "fused"])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_gradients_equal_numeric_differences_of_the_loss(kind, cells):
    network, ids = make(kind, hidden=4, embedding=3, layers=2, cells=cells), torch.from_numpy(random_ids(1, 6))
    found = gradient_flow(network, ids.numpy(), 4)
    exact = network.double().eval()

    def loss(memory, index, position, change):
        """−log p of the last token, with one number of the memory after *position* changed."""
        with torch.no_grad():
            _, state = exact(ids[:, : position + 1], exact.start(1, "cpu"))
            state[memory].view(-1)[index] += change
            features, _ = exact(ids[:, position + 1 : 5], state)
            # `nats` is float32; the difference of two losses needs more.
            logits = features[:, -1] @ exact.output.weight.T + exact.output.bias
            logits[:, exact.output.given_V] = -torch.inf
            return -torch.log_softmax(logits, 1)[0, ids[0, 5]].item()

    for memory, name in enumerate(("h", "c")[: len(found)]):
        if name not in found:
            continue
        for ell in range(1, 5):
            numeric = [
                (loss(memory, index, 4 - ell, 1e-5) - loss(memory, index, 4 - ell, -1e-5)) / 2e-5 for index in range(8)
            ]
            assert found[name].norms_ND[0, ell - 1] == pytest.approx(np.linalg.norm(numeric), rel=1e-5), (name, ell)


def test_of_the_lstm_both_memories_are_measured_alone_and_together():
    flows = gradient_flow(make("lstm"), random_ids(2, 12), 8)
    assert set(flows) == {"h", "c", "all"}
    np.testing.assert_allclose(flows["all"].norms_ND**2, flows["h"].norms_ND**2 + flows["c"].norms_ND**2)
    assert set(gradient_flow(make("gru"), random_ids(2, 12), 8)) == {"h"}


def test_an_open_forget_gate_lets_the_gradient_through_undiminished():
    """f = 1, i = 0 and no way through h: ∂J(i)/∂c(j) is the same at every distance."""
    network = make("lstm")
    layer = network.layers[0]
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
        layer.bias_hh_l0.zero_()
        layer.bias_ih_l0[:H], layer.bias_ih_l0[H : 2 * H] = -100.0, 100.0
    norms = gradient_flow(network, random_ids(2, 60), 50)["c"].norms_ND
    np.testing.assert_allclose(norms, np.repeat(norms[:, :1], 50, 1), rtol=1e-9)
    assert (norms > 0).all()


def test_the_forget_bias_decides_how_far_an_untrained_lstm_looks():
    specs = [RecurrentSpec(hidden=32, embedding=32, forget_bias=bias) for bias in (0.0, 1.0, 3.0)]
    flows = [gradient_flow(untrained(spec, V), random_ids(2, 50), 40)["all"] for spec in specs]
    none, one, three = (flow.decay().half_length for flow in flows)
    assert none < one < three


def test_the_network_is_neither_changed_nor_moved():
    network = make("gru").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gradient_flow(network, random_ids(2, 12), 8)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_positions_whose_next_token_is_given_are_left_out():
    ids = random_ids(3, 12)
    ids[0, 11] = BOS
    assert len(gradient_flow(make("rnn"), ids, 8)["h"].norms_ND) == 3 * 3 - 1
    ids[:, 9:] = BOS
    with pytest.raises(ModelError, match="no loss"):
        gradient_flow(make("rnn"), ids, 8)


@pytest.mark.parametrize(
    ("ids", "distances", "said"),
    [
        (random_ids(2, 9), 8, "at least 10 tokens"),
        (random_ids(2, 9), 0, "1 or more"),
        (random_ids(2, 12)[0], 8, "at least 10 tokens"),
        (random_ids(2, 12) + V, 8, "there are 40 entries"),
    ],
)
def test_tokens_that_cannot_be_used_are_refused(ids, distances, said):
    with pytest.raises(ModelError, match=said):
        gradient_flow(make(), ids, distances)


def test_a_network_without_memory_is_refused():
    network = NPLMNetwork(NPLMSpec(context=3, embedding=4, hidden=5, objective=SOFTMAX), torch.ones(V))
    with pytest.raises(ModelError, match="no recurrent memory"):
        gradient_flow(network, random_ids(2, 12), 8)


def test_decay_and_reach_of_known_curves():
    ell = np.arange(1, 41)
    halves = GradientFlow(np.stack([3 * 0.5 ** (ell / 7), 5 * 0.5 ** (ell / 7)]))
    assert halves.decay().half_length == pytest.approx(7)
    assert halves.decay().slope == pytest.approx(-math.log(2) / 7)
    assert halves.reach(0.26) == 14
    np.testing.assert_allclose(halves.mean_D, 4 * 0.5 ** (ell / 7))
    np.testing.assert_allclose(halves.quantile_D(0.5), halves.mean_D)
    growing = GradientFlow(1.1**ell[None])
    assert growing.decay().half_length == math.inf
    assert growing.reach() == 40
    assert GradientFlow(np.zeros((2, 5))).decay() == (-math.inf, 0.0)


def test_units_count_as_dead_only_if_no_token_wakes_them():
    network, ids = make("rnn", nonlinearity="relu", dropout=0.0), random_ids(4, 30)
    spec = RecurrentSpec(kind="rnn", nonlinearity="relu")
    with torch.no_grad():
        network.layers[0].bias_ih_l0[:3] = -1e4
    features = []
    h = torch.zeros(4, H)
    layer = network.layers[0]
    for column in torch.from_numpy(ids).unbind(1):
        a = network.embedding(column) @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0
        h = torch.relu(a + h @ layer.weight_hh_l0.T)
        features.append(h)
    zeros = (torch.stack(features, 1) == 0).double()
    [found] = relu_activity(network, spec, ids)
    assert (found.layer, found.units) == (0, H)
    assert found.dead_share == (zeros.flatten(0, 1).min(0).values == 1).double().mean().item() >= 3 / H
    assert found.zero_share == pytest.approx(zeros.mean().item())


def test_only_relu_networks_have_dead_units():
    with pytest.raises(ModelError, match="no ReLU units"):
        relu_activity(make("rnn"), RecurrentSpec(kind="rnn"), random_ids(1, 5))
    with pytest.raises(ModelError, match="no tokens"):
        relu_activity(make("rnn"), RecurrentSpec(kind="rnn", nonlinearity="relu"), np.zeros((0, 5), np.int64))


def test_each_cell_is_there_and_starts_as_a_fit_does():
    specs = each_cell(hidden=8, embedding=8)
    assert {(spec.kind, spec.nonlinearity) for spec in specs.values()} == {
        ("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")
    }  # fmt: skip
    first, again = (untrained(specs["gru"], V).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_beginnings_are_the_first_tokens_of_reviews_that_are_long_enough():
    stream = stream_of([[9, 10], [11] * 8, [12] * 20, [13] * 9], 20)
    found = beginnings(stream, 10, 2)
    assert found[:, 2].tolist() == [11, 13]
    assert found.shape == (2, 10)
    assert beginnings(stream, 10, 50).shape == (3, 10)
    with pytest.raises(ModelError, match="the longest has 23"):
        beginnings(stream, 24, 2)
