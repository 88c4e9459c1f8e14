"""The benchmark of recurrent layers: what it calls ours is ours, what it calls torch's is torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import benchmarks.training.layers as benchmark
from models.neural.layers.cells import CELLS
from models.neural.layers.recurrent_layers import make_layer

pytestmark = pytest.mark.long
SIZE = 2, 3, 4


@pytest.mark.parametrize("name", benchmark.LAYERS)
def test_both_sides_read_the_same_window_with_the_same_weights_by_different_layers(name: str) -> None:
    kind, nonlinearity = benchmark.LAYERS[name]
    torch.manual_seed(0)
    layer = make_layer(kind, SIZE[1], SIZE[2], "fused", nonlinearity).train()
    assert isinstance(layer, nn.RNNBase)
    x, start = torch.randn(2, benchmark.POSITIONS, 3, requires_grad=True), torch.zeros(2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = benchmark._ours(layer, x, start), benchmark._torchs(layer, x, start)
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=0.05, atol=0.05)
    assert "SequenceBackward" in ours.grad_fn.next_functions[0][0].name()  # type: ignore[union-attr]
    assert "SequenceBackward" not in str(theirs.grad_fn)


def test_every_layer_has_its_parameters_and_both_times() -> None:
    rows = benchmark.windows(SIZE, turns=1)
    assert set(rows) == set(benchmark.LAYERS)
    for name, row in rows.items():
        gates = CELLS[benchmark.LAYERS[name][0]].gates
        assert row["parameters"] == gates * (4 * 3 + 4 * 4 + 2 * 4)
        assert row["ours_tokens_per_cpu_s"] > 0 < row["torch_tokens_per_cpu_s"]
