"""Streams cut where they are reset, and read side by side by a fused layer, against the equations step by step."""

import numpy as np
import pytest
import torch

from models.neural.layers import recurrent_layers
from models.neural.layers.pieces import PackedPieces
from models.neural.layers.recurrent_layers import make_layer, run_layer
from models.neural.network import detach
from models.tokens.special import BOS
from tests.models.neural.layers.test_carry import PACKED, gradients, make

CPU = torch.device("cpu")
FUSED = ["rnn", "relu", "gru", "lstm"]


def test_the_pieces_of_two_streams():
    """The first stream is reset before its third position, the second one before its first."""
    keep_BT = np.array([[True, True, False, True, True], [False, True, True, True, True]])
    pieces = PackedPieces.of(keep_BT, CPU)
    assert pieces.sizes_T.tolist() == [3, 3, 2, 1, 1]
    assert pieces.order_N.tolist() == [5, 2, 0, 6, 3, 1, 7, 4, 8, 9]
    assert pieces.places_N.tolist() == [2, 5, 1, 4, 7, 0, 3, 6, 8, 9]
    assert pieces.stream_S.tolist() == [1, 0, 0]
    assert pieces.carried_S1.tolist() == [[False], [False], [True]]
    assert pieces.last_B.tolist() == [1, 0]
    assert keep_BT.sum() == 8, "the argument is not changed"


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("resets", [0.0, 0.2, 1.0])
def test_a_layer_that_reads_pieces_is_the_one_that_resets_streams(monkeypatch, kind, resets):
    torch.manual_seed(1)
    B, T, E, H = 5, 9, 3, 4
    layer = make_layer(kind, E, H, "fused").double()
    weights = dict(layer.named_parameters())
    x_BTE = torch.randn(B, T, E, dtype=torch.float64, requires_grad=True)
    state = [torch.randn(B, H, dtype=torch.float64, requires_grad=True) for _ in range(1 + (kind == "lstm"))]
    keep_BT = torch.rand(B, T) >= resets
    found = []
    for pieces in (None, PackedPieces.of(keep_BT.numpy(), CPU)):
        h_BTH, last = run_layer(layer, weights, x_BTE, tuple(state), keep_BT, pieces)
        loss = sum((out * torch.randn(out.shape, generator=torch.Generator().manual_seed(2))).sum()
                   for out in (h_BTH, *last))  # fmt: skip
        found.append([h_BTH, *last, *torch.autograd.grad(loss, [x_BTE, *state, *weights.values()])])
        monkeypatch.setattr(recurrent_layers, "unroll", lambda *given, **options: pytest.fail("a loop over positions"))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_what_a_stream_remembered_before_it_was_reset_is_gone_even_if_it_is_not_a_number():
    layer = make_layer("gru", 3, 4, "fused")
    state, keep_BT = torch.full((2, 4), torch.nan), torch.tensor([[False, True], [False, False]])
    pieces = PackedPieces.of(keep_BT.numpy(), CPU)
    h_BTH, _ = run_layer(layer, dict(layer.named_parameters()), torch.randn(2, 2, 3), (state,), keep_BT, pieces)
    assert torch.isfinite(h_BTH).all()


@pytest.mark.parametrize("name", FUSED)
def test_a_network_that_knows_its_ids_on_the_processor_gives_the_same(name):
    """In windows that are cut anywhere, with the state between them."""
    found = []
    for known in (False, True):
        network = make(name)
        state, parts = network.start(2, "cpu"), []
        for window in PACKED.split([2, 4, 1, 3, 6, 10], 1):
            network.ids_on_host = window.numpy() if known else None
            features, state = network(window, detach(state))
            parts.append(features)
        features = torch.cat(parts, 1)
        found.append([features, *state, *gradients(network, features)])
    assert (PACKED == BOS).sum() > 4
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_in_evaluation_the_state_goes_on_from_review_to_review():
    network = make("gru").eval()
    expected, _ = network(PACKED, network.start(2, "cpu"))
    network.ids_on_host = PACKED.numpy()
    assert torch.equal(network(PACKED, network.start(2, "cpu"))[0], expected)


def test_a_network_on_the_processor_asks_for_no_ids():
    assert not make("gru").reads_pieces()
    assert not make("gru", stateful=True).reads_pieces()
