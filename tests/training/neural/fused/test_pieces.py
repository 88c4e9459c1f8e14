"""Streams cut where they are reset, and read side by side by a fused layer, against the equations step by step."""

import pytest
import torch

from models.neural.layers import recurrent_layers
from models.neural.layers.recurrent_layers import PackedPieces, make_layer, run_layer

CPU = torch.device("cpu")


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
