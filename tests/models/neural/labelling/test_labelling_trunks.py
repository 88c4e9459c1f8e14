"""Trunks of classifiers, against their formulas: poolings, bags, convolutions, sparse features, recurrent summaries."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.classification.spec import RecurrentClassifierSpec
from models.neural.labelling.trunks.bag import BagTrunk, SparseTrunk
from models.neural.labelling.trunks.convolution import ConvolutionTrunk
from models.neural.labelling.trunks.pooling import pool
from models.neural.labelling.trunks.recurrent import RecurrentTrunk
from tests.models.neural.labelling.made_labels import V

E = 5
LENGTHS = torch.tensor([3, 9, 1, 6])
REDUCTIONS = {"mean": lambda h: h.mean(0), "max": lambda h: h.amax(0), "min": lambda h: h.amin(0)}
TRUNKS = {
    "bag": lambda: BagTrunk(V, E, ("mean", "max", "min"), (7, 4), 0.5),
    "bag without layers": lambda: BagTrunk(V, E, ("min",), (), 0.5),
    "cnn": lambda: ConvolutionTrunk(V, E, (2, 3, 4, 5), 3, ("max", "mean", "min"), 0.5),
    **{pooling: lambda pooling=pooling: recurrent(pooling) for pooling in ("mean", "max", "min", "attention")},
    "last": lambda: recurrent("last"),
    "concat, both ways, two layers": lambda: recurrent("concat", bidirectional=True, layers=2),
    "attention, both ways": lambda: recurrent("attention", bidirectional=True),
}


def recurrent(pooling, **options):
    return RecurrentTrunk(RecurrentClassifierSpec(kind="gru", pooling=pooling, hidden=4, embedding=E, **options), V)


def some_ids():
    return torch.randint(9, V, (4, 9), generator=torch.Generator().manual_seed(2))


def made(name):
    torch.manual_seed(1)
    trunk = TRUNKS[name]().double().eval()
    for parameter in trunk.parameters():
        nn.init.normal_(parameter)
    return trunk


def test_pooling_reduces_the_real_positions():
    h = torch.randn(4, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    inside = torch.arange(9) < LENGTHS[:, None]
    found = pool(["mean", "max", "min"], h, inside)
    for row, length in enumerate(LENGTHS.tolist()):
        expected = torch.cat([reduce(h[row, :length]) for reduce in REDUCTIONS.values()])
        torch.testing.assert_close(found[row], expected, rtol=1e-14, atol=1e-14)


def test_a_bag_pools_the_embeddings_then_applies_its_layers():
    trunk, ids = made("bag"), some_ids()
    first, second = (layer for layer in trunk.layers if isinstance(layer, nn.Linear))
    for row, length in enumerate(LENGTHS.tolist()):
        x = trunk.embedding.weight[ids[row, :length]]
        pooled = torch.cat([reduce(x) for reduce in REDUCTIONS.values()])
        h = torch.relu(second.weight @ torch.relu(first.weight @ pooled + first.bias) + second.bias)
        torch.testing.assert_close(trunk(ids, LENGTHS)[row], h)
    plain = made("bag without layers")
    torch.testing.assert_close(plain(ids, LENGTHS)[2], plain.embedding.weight[ids[2, 0]])


@pytest.mark.parametrize("width", [2, 3, 4, 5])
def test_a_convolution_is_a_layer_on_the_concatenated_words_of_each_window(width):
    """h_t = relu(W (x_t, …, x_{t+k−1}) + b), windows inside the sequence; a short sequence has one, filled with 0."""
    torch.manual_seed(1)
    trunk, ids = ConvolutionTrunk(V, E, (width,), 3, ("max", "mean", "min"), 0.5).double().eval(), some_ids()
    nn.init.normal_(trunk.embedding.weight)
    (convolution,) = trunk.convolutions
    W = convolution.weight.transpose(1, 2).flatten(1)  # as a matrix on concatenated embeddings
    found = trunk(ids, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        x = trunk.embedding.weight[ids[row, :length]]
        x = torch.cat([x, x.new_zeros(max(0, width - length), E)])
        windows = torch.stack([x[t : t + width].flatten() for t in range(len(x) - width + 1)])
        h = torch.relu(windows @ W.T + convolution.bias)
        expected = torch.cat([h.amax(0), h.mean(0), h.amin(0)])
        torch.testing.assert_close(found[row], expected, rtol=1e-12, atol=1e-12)


def test_sparse_features_are_a_matrix_product():
    torch.manual_seed(1)
    trunk = SparseTrunk(6, (4, 3), 0.5).double().eval()
    x = torch.tensor([[0.5, 0, 0, 2.0, 0, 0], [0] * 6, [0, 1.0, 0, 0, 0, 3.0]], dtype=torch.float64)
    ids, starts = torch.tensor([0, 3, 1, 5]), torch.tensor([0, 2, 2])
    values = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    second = next(layer for layer in trunk.rest.modules() if isinstance(layer, nn.Linear))
    expected = torch.relu(torch.relu(x @ trunk.weight + trunk.bias) @ second.weight.T + second.bias)
    torch.testing.assert_close(trunk(ids, values, starts), expected)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_poolings_are_those_of_torchs_layer(bidirectional):
    torch.manual_seed(1)
    reference = nn.GRU(E, 4, batch_first=True, bidirectional=bidirectional).double()
    summaries = {}
    for pooling in ("last", "mean", "max", "min", "concat"):
        trunk = recurrent(pooling, bidirectional=bidirectional).double().eval()
        torch.manual_seed(3)
        nn.init.normal_(trunk.embedding.weight)
        layers = [trunk.encoder.forwards[0], trunk.encoder.backwards[0]] if bidirectional else trunk.encoder.layers
        for layer, suffix in zip(layers, ("", "_reverse"), strict=False):
            for name, parameter in layer.named_parameters():
                parameter.data.copy_(getattr(reference, name + suffix))
        summaries[pooling] = trunk(some_ids(), LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        h, last = reference(trunk.embedding.weight[some_ids()[row, :length]][None])
        expected = {name: reduce(h[0]) for name, reduce in REDUCTIONS.items()} | {"last": last[:, 0].flatten()}
        expected["concat"] = torch.cat([expected["last"], expected["max"], expected["mean"]])
        for pooling, found in summaries.items():
            torch.testing.assert_close(found[row], expected[pooling])
