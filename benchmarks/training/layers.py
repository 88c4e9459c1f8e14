"""Measure recurrent layers in training: ours against torch's fused layers, and the GRU against an LSTM of equal size.

    python -m benchmarks.training.layers --quick
    python -m benchmarks.training.layers --write

A layer reads a window of 50 positions and returns its gradients, with products in bf16, on one thread. All layers of a
size take turns in one process. The minimum CPU time of each is compared, since other work on the machine can only
increase it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from time import process_time
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.harness import Ratio, Report, arguments, finish, measure, say
from reviewlm.models.neural.layers.cells import CELLS
from reviewlm.models.neural.layers.recurrent_layers import make_layer, run_layer

LAYERS = {
    "rnn tanh": ("rnn", "tanh"),
    "rnn relu": ("rnn", "relu"),
    "gru": ("gru", "tanh"),
    "lstm": ("lstm", "tanh"),
}
SIZES = ((20, 384, 640), (16, 256, 320), (64, 256, 512))
"""Streams, inputs, and size of the hidden state."""
POSITIONS = 50
GOAL = 1.0


def windows(size: tuple[int, int, int], turns: int) -> dict[str, dict[str, Any]]:
    """Return for each layer of a size, ours and torch's, the minimum CPU milliseconds of forward and backward."""
    torch.manual_seed(1)
    contenders: dict[tuple[str, str], Callable[[], float]] = {}
    parameters: dict[str, int] = {}
    for name, (kind, nonlinearity) in LAYERS.items():
        layer = cast(
            nn.RNNBase,
            make_layer(
                kind,
                size[1],
                size[2],
                "fused",
                nonlinearity,
            ).train(),
        )
        parameters[name] = sum(parameter.numel() for parameter in layer.parameters())
        contenders[name, "ours"] = partial(seconds, partial(_ours, layer), layer, size)
        contenders[name, "torch"] = partial(seconds, partial(_torchs, layer), layer, size)

    least = dict.fromkeys(contenders, float("inf"))
    for _ in range(turns):
        for key, contender in contenders.items():
            least[key] = min(least[key], contender())

    tokens = size[0] * POSITIONS
    return {
        name: {
            "parameters": parameters[name],
            **{f"{whose}_ms": round(1000 * least[name, whose], 1) for whose in ("ours", "torch")},
            **{
                f"{whose}_tokens_per_cpu_s": round(tokens / least[name, whose])
                for whose in ("ours", "torch")
            },
        }
        for name in LAYERS
    }


def seconds(
    read: Callable[[Tensor, Tensor], Tensor],
    layer: nn.Module,
    size: tuple[int, int, int],
) -> float:
    """Return the CPU seconds of reading a window and taking its gradients."""
    B, E, H = size
    x_BTE = torch.randn(B, POSITIONS, E, requires_grad=True)
    start_BH = torch.zeros(B, H)
    dh_BTH = torch.randn(B, POSITIONS, H)
    layer.zero_grad(set_to_none=True)
    began = process_time()
    with torch.autocast("cpu", torch.bfloat16):
        h_BTH = read(x_BTE, start_BH)

    h_BTH.backward(dh_BTH.to(h_BTH.dtype))
    return process_time() - began


def _ours(
    layer: nn.RNNBase,
    x_BTE: Tensor,
    start_BH: Tensor,
) -> Tensor:
    states = CELLS[layer.mode.partition("_")[0].lower()].states
    return run_layer(layer, dict(layer.named_parameters()), x_BTE, (start_BH,) * states)[0]


def _torchs(
    layer: nn.RNNBase,
    x_BTE: Tensor,
    start_BH: Tensor,
) -> Tensor:
    start = start_BH[None]
    h_BTH: Tensor = layer(x_BTE, (start, start) if layer.mode == "LSTM" else start)[0]
    return h_BTH


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and report."""
    args: argparse.Namespace = arguments(__doc__ or "").parse_args(argv)
    rows: dict[str, dict[str, Any]] = {}
    ratios: dict[str, Ratio] = {}
    for size in SIZES[:1] if args.quick else SIZES:
        shape = " × ".join(map(str, size))
        found = measure(partial(windows, size, 4 * args.repeats), 1).result
        for name, row in found.items():
            say(f"{name}, {shape}: {row}")
            rows[f"{name}, {shape}"] = row
            ratios[f"layers.{name}, {shape}"] = Ratio(
                round(row["torch_ms"] / row["ours_ms"], 2), GOAL, "torch, fused"
            )
        over = round(found["lstm"]["ours_ms"] / found["gru"]["ours_ms"], 2)
        ratios[f"layers.gru against lstm, {shape}"] = Ratio(over, GOAL, "our LSTM")

    notes = (
        "Sizes are streams × inputs × hidden. Forward and backward of one layer over a window of 50 positions, "
        "products in bf16, one thread: the least CPU time of interleaved turns. What an embedding, an output layer and "
        "an optimiser take is the same for all layers and comes on top.",
    )
    return finish(
        args,
        Report(
            "layers",
            "Recurrent layers in training",
            rows,
            ratios,
            ("torch", "numba"),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
