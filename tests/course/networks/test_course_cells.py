"""The course's equations of layers, cells and networks, each as an executable proof about the code that is used.

A test is named for its row in the list of what the course material asks for, and its docstring for the place: L the
lecture on recurrent networks (week 3), R the recitation, N the slides in the manner of CS224n, S the summary notes,
G the notes of the reading group; numbers are lines. Where the material slips, the test holds what was meant. What these
rows ask for beyond an equation (equality with torch's layers, masks, gradient checks) is in the tests of each module.
"""

import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.training.one_hot import allocated, one_hot_product
from reviewlm.course.networks import bptt
from reviewlm.course.networks.einsum import einsum_affine
from reviewlm.models.neural.architectures import NPLMNetwork, RecurrentNetwork
from reviewlm.models.neural.labelling.network import SequenceEncoder
from reviewlm.models.neural.layers.cells import (
    ACTIVATIONS,
    CELLS,
    cho_gru_cell,
    elman_cell,
    lstm_cell,
    matmul_affine,
)
from reviewlm.models.specs import KINDS, NPLMSpec, RecurrentSpec, TrainingSpec, model_class
from reviewlm.training.context import FitContext
from reviewlm.training.neural import trainer
from tests.course.small_networks import FLOAT32, SOFTMAX, B, E, H, T, V, network_of, random
from tests.models.neural.made_streams import walks


def nplm_of(direct):
    torch.manual_seed(1)
    spec = NPLMSpec(
        context=3,
        embedding=E,
        hidden=H,
        direct=direct,
        dropout=0.0,
        objective=SOFTMAX,
        training=FLOAT32,
    )
    network = NPLMNetwork(spec, torch.ones(V)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return network


def words(count=T):
    return torch.randint(9, V, (1, count), generator=torch.Generator().manual_seed(2))


@pytest.mark.slow
def test_C25_a_network_reads_words_in_memory_that_does_not_grow_with_the_vocabulary():
    """L 43, L 295–308: the features of C1, in T E numbers, not T V more; `docs/concepts/models/tuning.md`."""
    ids, taken = torch.randint(9, V, (1, T), generator=torch.Generator().manual_seed(2)), []
    for entries in (V, 50 * V):
        weight = torch.randn(entries, E, dtype=torch.float64)
        assert torch.equal(one_hot_product(ids[0], weight), weight[ids[0]])
        assert allocated(lambda: one_hot_product(ids[0], weight)) == 8 * T * (entries + E)  # noqa: B023
        spec = RecurrentSpec(
            hidden=H,
            embedding=E,
            objective=SOFTMAX,
            training=FLOAT32,
        )
        network = RecurrentNetwork(spec, torch.ones(entries)).eval()
        taken.append(allocated(lambda: network(ids, network.start(1, "cpu"))))  # noqa: B023
    assert taken[0] == taken[1]


@pytest.mark.parametrize(
    ("name", "f"),
    [
        ("sigmoid", lambda a: 1 / (1 + math.exp(-a))),
        ("tanh", lambda a: (math.exp(a) - math.exp(-a)) / (math.exp(a) + math.exp(-a))),
        ("arctan", math.atan),
        ("relu", lambda a: max(0.0, a)),
    ],
)
def test_C3_activations(name, f):
    """L 377–382, each by name through the model's options."""
    layer = network_of(nonlinearity=name).layers[0]
    x, h = random(1, 1, E), random(1, H, seed=1)
    a = x[0] @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h @ layer.weight_hh_l0.T + layer.bias_hh_l0
    expected = [f(value) for value in a[0].tolist()]
    assert layer(x, (h,))[0].flatten().tolist() == pytest.approx(expected, rel=1e-13)
    assert {*ACTIVATIONS} == {"sigmoid", "tanh", "arctan", "relu"}


def gradient_after_50_steps(name):
    """Return ∂h_50/∂h_0 of a network with W_h = I."""
    identity, zeros = torch.eye(H).double(), torch.zeros(1, H).double()
    h = h_0 = (random(1, H).abs() + 0.1).requires_grad_()
    for _ in range(50):
        (h,) = elman_cell(
            zeros,
            (h,),
            identity,
            zeros[0],
            f=ACTIVATIONS[name],
        )
    (gradient,) = torch.autograd.grad(h.sum(), h_0)
    return gradient


def test_C4_relu_carries_a_gradient_over_any_distance():
    """R 40–43: ∂h_t/∂h_0 = ∏ diag(f'(a)) W_h; with W_h = I that is 1 for active ReLUs."""
    assert torch.equal(gradient_after_50_steps("relu"), torch.ones(1, H).double())


def test_C4_tanh_lets_a_gradient_fade():
    """R 40–43: with W_h = I it is ∏ (1 − h²) < 1."""
    assert gradient_after_50_steps("tanh").max() < 0.2


def test_C7_vanilla_recurrent_network():
    """L 424–433, R 20–27: h_t = tanh(W_x x_t + W_h h_{t−1} + b), y_t = softmax(W_y h_t + b_y)."""
    network, ids = network_of(), words()
    layer, output = network.layers[0], network.output
    h = torch.zeros(H).double()
    features, _ = network(ids, network.start(1, "cpu"))
    for t, word in enumerate(ids[0]):
        x = network.embedding.weight[word]
        h = torch.tanh(
            layer.weight_ih_l0 @ x + layer.bias_ih_l0 + layer.weight_hh_l0 @ h + layer.bias_hh_l0
        )
        scores = torch.exp(output.weight @ h + output.bias)
        scores[[1, 3, 4, 5, 6, 7, 8]] = 0  # begin and stars are given, never predicted
        y = output.logp(features[:, t])[0].exp().double()
        torch.testing.assert_close(y, scores / scores.sum(), atol=1e-6, rtol=0)


def test_C8_every_kind_of_model_has_the_same_interface():
    """R 8: (word, state) → (distribution, state); n-gram, mixtures and cache included."""
    for kind in KINDS:
        step, start = (getattr(model_class(kind), name) for name in ("step", "start"))
        assert [*inspect.signature(step).parameters] == ["self", "ids_B", "state"], kind
        assert [*inspect.signature(start).parameters] == ["self", "batch"], kind


def gates(names, *shapes):
    """For each shape, one tensor of it per gate, by the gate's name."""
    return [
        {name: random(*shape, seed=10 * number + i) for i, name in enumerate(names)}
        for number, shape in enumerate(shapes, 1)
    ]


def test_C11_lstm():
    """R 50–65, N 170–174, S 68–92: forget, input and output gate, c_t = f ∘ c_{t−1} + i ∘ c̃, h_t = o ∘ tanh c_t."""
    W, U, b = gates("ifco", (H, E), (H, H), (H,))
    x, h, c = random(E, seed=1), random(H, seed=2), random(H, seed=3)
    a = {gate: W[gate] @ x + U[gate] @ h + b[gate] for gate in "ifco"}
    i, f, o = (torch.sigmoid(a[gate]) for gate in "ifo")
    c_t = f * c + i * torch.tanh(a["c"])  # what is erased, and what is written
    h_t = o * torch.tanh(c_t)  # what is read
    stacked = [torch.cat([values[gate] for gate in "ifco"]) for values in (W, U, b)]
    ours = lstm_cell((stacked[0] @ x)[None], (h[None], c[None]), stacked[1], stacked[2])
    torch.testing.assert_close(ours, (h_t[None], c_t[None]), atol=1e-14, rtol=0)


def test_C12_gru_as_the_slides_print_it():
    """N 184–199, R 68: u, r = σ(…), h̃ = tanh(W (r ∘ h_{t−1}) + U x), h_t = (1 − u) ∘ h_{t−1} + u ∘ h̃.

    Our z is 1 − u, and 1 − σ(a) = σ(−a): the rows of u are stored with the opposite sign. N 201: u = 0 keeps the state.
    """
    W, U, b = gates("ruh", (H, H), (H, E), (H,))
    x, h = random(E, seed=1), random(H, seed=2)
    r, u = (torch.sigmoid(W[gate] @ h + U[gate] @ x + b[gate]) for gate in "ru")
    new = torch.tanh(W["h"] @ (r * h) + U["h"] @ x + b["h"])
    from_x, from_h, bias = (
        torch.cat([values["r"], -values["u"], values["h"]]) for values in (U, W, b)
    )
    (ours,) = cho_gru_cell((from_x @ x)[None], (h[None],), from_h, bias)
    torch.testing.assert_close(ours[0], (1 - u) * h + u * new, atol=1e-14, rtol=0)
    bias[H : 2 * H] = 1e4
    assert torch.equal(cho_gru_cell((from_x @ x)[None], (h[None],), from_h, bias)[0][0], h)


def test_C13_a_gru_layer_has_three_quarters_of_the_parameters():
    """N 210: three gates' rows for the LSTM's four, through the models' options and in both forms."""

    def size(**options):
        return sum(p.numel() for p in network_of(**options).layers.parameters())

    assert 4 * size(kind="gru") == 3 * size(kind="lstm")
    assert size(kind="gru", form="cho") == size(kind="gru")


def test_C15_bidirectional_layer():
    """N 218–227, S 98: h_t = (→h_t, ←h_t), the second from the end of the sequence."""
    torch.manual_seed(1)
    encoder, x = SequenceEncoder("rnn", E, H, bidirectional=True).double(), random(1, T, E)
    forth, back = encoder.layers[0], encoder.backwards[0]
    right, left = [torch.zeros(H).double()], [torch.zeros(H).double()]
    for layer, states, order in ((forth, right, range(T)), (back, left, reversed(range(T)))):
        for t in order:
            a = (
                layer.weight_ih_l0 @ x[0, t]
                + layer.bias_ih_l0
                + layer.weight_hh_l0 @ states[-1]
                + layer.bias_hh_l0
            )
            states.append(torch.tanh(a))
    expected = torch.stack([torch.cat([right[t + 1], left[T - t]]) for t in range(T)])
    torch.testing.assert_close(encoder(x, torch.tensor([T]))[0][0], expected, atol=1e-14, rtol=0)


def test_C16_layer_i_feeds_layer_i_plus_1():
    """N 231–233, S 98: h_t^i = f(W_x^i h_t^{i−1} + W_h^i h_{t−1}^i), position by position instead of layer by layer."""
    network, ids = network_of(layers=3), words()
    state = [torch.zeros(1, H).double() for _ in network.layers]
    for t in range(T):
        below = network.embedding(ids[:, t])
        for i, layer in enumerate(network.layers):
            a = below @ layer.weight_ih_l0.T + layer.bias_ih_l0
            (below,) = (state[i],) = elman_cell(
                a, (state[i],), layer.weight_hh_l0, layer.bias_hh_l0
            )
    features, _ = network(ids, network.start(1, "cpu"))
    torch.testing.assert_close(features[:, -1], below, atol=1e-14, rtol=0)


def fitted(
    network,
    training,
    folder,
):
    context = FitContext(work=folder)
    return trainer.train(
        network,
        walks(60, 14, seed=1),
        walks(20, 14, seed=2),
        training,
        context,
    )


SHORT = TrainingSpec(
    epochs=4,
    batch=4,
    bptt_len=10,
    learning_rate=2e-2,
    precision="float32",
    evaluations=1,
)


@pytest.mark.parametrize("direct", [True, False])
def test_C18_neural_probabilistic_language_model(direct):
    """L 800–825: y = b + W x + U tanh(d + H x) with x = (C(w_{t−1}), …, C(w_{t−n+1})), and p = softmax(y)."""
    network, ids = nplm_of(direct), words()
    C, H_, d, b = (
        network.embedding.weight,
        network.hidden.weight,
        network.hidden.bias,
        network.output.bias,
    )
    x = torch.cat([C[ids[0, t]] for t in (7, 6, 5)])
    U = network.output.weight[:, -H:]
    y = b + U @ torch.tanh(d + H_ @ x)
    if direct:
        y = y + network.output.weight[:, :-H] @ x
    scores = torch.exp(y)
    scores[[1, 3, 4, 5, 6, 7, 8]] = 0
    features, _ = network(ids, network.start(1, "cpu"))
    p = network.output.logp(features[:, 7])[0].exp().double()
    torch.testing.assert_close(p, scores / scores.sum(), atol=1e-6, rtol=0)
    assert network.output.weight.shape[1] == H + (3 * E if direct else 0)


def _specs_alike() -> dict[str, NPLMSpec | RecurrentSpec]:
    """Return the options of all kinds of networks, equal but for the layer that makes the features."""
    common: dict[str, Any] = {
        "embedding": 8,
        "hidden": 16,
        "dropout": 0.0,
        "objective": SOFTMAX,
        "training": SHORT,
    }
    specs: dict[str, NPLMSpec | RecurrentSpec] = {}
    specs["nplm"] = NPLMSpec(
        context=2,
        direct=False,
        **common,
    )
    for kind in ("rnn", "gru", "lstm"):
        specs[kind] = RecurrentSpec(
            kind=kind,
            tied=False,
            condition_on_stars=False,
            **common,
        )

    return specs


@pytest.mark.slow
def test_C19_all_neural_models_differ_in_the_layer_of_features_alone(tmp_path):
    """L 829–840: Bengio's input and output with the features of Mikolov's network, all else equal.

    In this language each token is followed by one of two, so a perplexity below 3 is that of a model that looks back.
    """
    specs = _specs_alike()
    for name in ("objective", "training", "embedding", "hidden"):
        for spec in specs.values():
            assert getattr(spec, name) == getattr(specs["nplm"], name)

    summaries = {}
    shapes = {}
    for kind, spec in specs.items():
        torch.manual_seed(1)
        network = model_class(kind).build(spec, torch.ones(14))
        weights = network.output.state_dict()
        shapes[kind] = {name: tensor.shape for name, tensor in weights.items()}
        folder = tmp_path / kind
        folder.mkdir()
        summaries[kind] = fitted(network, SHORT, folder)

    for kind, summary in summaries.items():
        assert shapes[kind] == shapes["nplm"], "the same output layer"
        assert summary["tokens"] == summaries["nplm"]["tokens"]
        assert summary["validation_perplexity"] < 3, kind
        assert summary["tokens_per_second"] > 0, "C13: of GRU and LSTM alike"


# --- The course's equations of gradients, each as an executable proof about the code that is used


def test_D10_softmax_with_cross_entropy_has_the_gradient_p_minus_y():
    """G 48–50: ∂p_i/∂z_j = p_i (δ_ij − p_j), so ∂J/∂z = p − y; of the output layer that is trained, and of bptt's."""
    network = network_of()
    output, h, targets = (
        network.output,
        random(5, H).requires_grad_(),
        torch.tensor([9, 12, 2, 9, 16]),
    )
    loss, _ = output.loss(h, targets, "float32")
    loss.backward()
    z = (h @ output.weight.T + output.bias).detach()
    z[:, [1, 3, 4, 5, 6, 7, 8]] = -torch.inf
    p = torch.softmax(z, 1)
    difference = p - torch.nn.functional.one_hot(targets, V)
    torch.testing.assert_close(output.bias.grad, difference.sum(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(h.grad, difference @ output.weight.detach(), atol=1e-5, rtol=0)
    q = p[0].numpy()
    jacobian = np.array([[q[i] * ((i == j) - q[j]) for j in range(V)] for i in range(V)])
    np.testing.assert_allclose(bptt.softmax_jacobian(q), jacobian, atol=1e-15)
    np.testing.assert_allclose(
        bptt.cross_entropy_gradient(q, 9), jacobian.T @ (-np.eye(V)[9] / q.clip(1e-300)), atol=1e-12
    )


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_D11_einsum_form_of_a_step(kind):
    """G 46–47: the sum over e written as a contraction, a_bg = Σ_e W_ge x_be; equal to the matrix product."""
    cell = CELLS[kind]
    rows = cell.gates * H
    x, W, U, b, d = (
        random(B, E),
        random(rows, E, seed=1),
        random(rows, H, seed=2),
        random(rows, seed=3),
        random(rows, seed=4),
    )
    state = tuple(random(B, H, seed=5 + i) for i in range(cell.states))
    a_loop = torch.stack([sum(W[:, e] * x[s, e] for e in range(E)) + b for s in range(B)])
    torch.testing.assert_close(einsum_affine(x, W, b), a_loop, atol=1e-13, rtol=0)
    steps = [
        cell.step(
            affine(x, W, b),
            state,
            U,
            d,
            affine,
        )
        for affine in (matmul_affine, einsum_affine)
    ]
    torch.testing.assert_close(*steps, atol=1e-13, rtol=0)


def test_D12_hand_derived_back_propagation_is_that_sum():
    """N 152–159, G 62: bptt's gradient of U against copies of U, one per step, differentiated by autograd."""
    rng = np.random.default_rng(1)
    shapes = {
        "C": (V, E),
        "W": (H, E),
        "U": (H, H),
        "b": (H,),
        "V": (V, H),
        "c": (V,),
    }
    model = bptt.Elman(**{name: rng.normal(0, 0.5, shape) for name, shape in shapes.items()})
    read, following = rng.integers(0, V, T), rng.integers(0, V, T)
    gradient, _ = bptt.backward(
        model, read, following, bptt.forward(model, read, following, np.zeros(H))[1]
    )
    C, W, _, b, out, c = (torch.tensor(value) for value in vars(model).values())
    copies = [torch.tensor(model.U, requires_grad=True) for _ in range(T)]
    h, loss = torch.zeros(H).double(), 0.0
    for t in range(T):
        h = torch.tanh(W @ C[read[t]] + copies[t] @ h + b)
        loss = loss - torch.log_softmax(out @ h + c, 0)[following[t]]
    parts = torch.autograd.grad(loss, copies)
    np.testing.assert_allclose(gradient.U, sum(parts).numpy(), atol=1e-12)
