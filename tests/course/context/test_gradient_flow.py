"""Gradients by distance: closed forms of linear networks, numeric differences, gates that keep everything."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from reviewlm.course.context.gradient_flow import GradientFlow, gradient_flow
from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.network import Network
from reviewlm.models.neural.output import build_output
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec

V, H = 40, 12
SOFTMAX, FLOAT32 = ObjectiveSpec(output="softmax"), TrainingSpec(precision="float32")


def with_spectral_radius(
    rho,
    size=H,
    seed=1,
):
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
        return (
            torch.zeros(
                1,
                batch,
                len(self.W_HH),
                dtype=torch.float64,
                device=device,
            ),
        )

    def forward(self, ids_BT, state):
        h_BH, outputs = state[0][0], []
        for column_B in ids_BT.unbind(1):
            h_BH = h_BH @ self.W_HH.T + self.C_VH[column_B]
            outputs.append(h_BH)
        return torch.stack(outputs, 1), (h_BH[None],)


def make(kind="lstm", **options):
    torch.manual_seed(1)
    fixed = {
        "hidden": H,
        "embedding": 8,
        "dropout": 0.3,
        "objective": SOFTMAX,
        "training": FLOAT32,
    }
    return RecurrentNetwork(RecurrentSpec(kind=kind, **(fixed | options)), torch.ones(V))


def random_ids(
    streams,
    tokens,
    seed=2,
):
    return np.random.default_rng(seed).integers(9, V, (streams, tokens))


@pytest.mark.parametrize("rho", [0.7, 0.95, 1.0, 1.05])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_slope_of_a_linear_network_is_the_logarithm_of_its_spectral_radius(rho, seed):
    flow = gradient_flow(Linear(with_spectral_radius(rho, seed=seed)), random_ids(4, 92), 80)["h"]
    assert flow.decay(first=20).slope == pytest.approx(math.log(rho), rel=0.05, abs=0.005)


def test_of_a_linear_network_the_gradient_is_a_power_of_its_matrix_exactly():
    """∂J(i)/∂h(j) = (Wᵀ)^ℓ Vᵀ (p − onehot), with p from a softmax written out in numpy."""
    network, ids = Linear(with_spectral_radius(0.8)), random_ids(3, 9)
    W, C, rows = (
        tensor.detach().numpy() for tensor in (network.W_HH, network.C_VH, network.output.weight)
    )
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
            expected.append(
                [np.linalg.norm(np.linalg.matrix_power(W.T, ell) @ gradient) for ell in range(1, 6)]
            )
    np.testing.assert_allclose(gradient_flow(network, ids, 5)["h"].norms_ND, expected, rtol=1e-6)


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


@pytest.fixture
def halves():
    """Two gradients that halve every seven steps."""
    ell = np.arange(1, 41)
    return GradientFlow(np.stack([3 * 0.5 ** (ell / 7), 5 * 0.5 ** (ell / 7)]))


def test_the_decay_of_a_known_curve(halves):
    assert halves.decay().half_length == pytest.approx(7)
    assert halves.decay().slope == pytest.approx(-math.log(2) / 7)


def test_the_reach_of_a_known_curve(halves):
    assert halves.reach(0.26) == 14


def test_the_mean_of_known_curves(halves):
    ell = np.arange(1, 41)
    np.testing.assert_allclose(halves.mean_D, 4 * 0.5 ** (ell / 7))
    np.testing.assert_allclose(halves.quantile_D(0.5), halves.mean_D)


def test_a_gradient_that_grows_has_no_half_length():
    growing = GradientFlow(1.1 ** np.arange(1, 41)[None])
    assert growing.decay().half_length == math.inf
    assert growing.reach() == 40


def test_a_gradient_of_zeros_has_no_length():
    assert GradientFlow(np.zeros((2, 5))).decay() == (-math.inf, 0.0)
