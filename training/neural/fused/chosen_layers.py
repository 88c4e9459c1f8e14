"""Choose which of our own layers a network trains with in bf16: those of this folder where they are the faster ones.

They are imported when one is first needed: those of the CPU need numba, that of the GPU needs Triton.
"""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import nn

from models.neural.device import has_triton
from models.neural.layers.recurrent_layers import OwnRun
from training.neural.fused.captured import for_replays
from training.neural.fused.sequence import run_sequence


def train_with_own_layers(network: nn.Module) -> None:
    """Let the fused layers of a network train in bf16 with ours; it has no effect on scoring or in float32."""
    for layer in network.modules():
        if isinstance(layer, nn.RNNBase):
            layer.chosen_run = own_run  # type: ignore[assignment]


def own_run(mode: str, device: torch.device, resets: bool) -> OwnRun | None:
    """Return our own layer where it is the faster one, else None.

    On a GPU ours launches two kernels per position. The host needs longer for that than for a call of cuDNN, unless
    they are replayed.

    Args:
        mode: torch.nn's name of the kind: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        device: On which it trains.
        resets: Streams are reset within windows, which cuDNN's layers cannot do.
    """
    if device.type == "cpu":
        return sequences().get(mode)
    return gpu_sequences(device).get(mode) if resets or for_replays.get() else None


@cache
def gpu_sequences(device: torch.device) -> dict[str, OwnRun]:
    """Return our own layers of a GPU, by mode; empty without Triton."""
    if not has_triton(device):
        return {}
    from training.neural.fused.gpu_lstm import run_lstm

    return {"LSTM": run_lstm}


@cache
def sequences() -> dict[str, OwnRun]:
    """Return our own layers of the CPU, by mode."""
    from training.neural.fused.elman import ElmanSequence
    from training.neural.fused.gru import GRUSequence
    from training.neural.fused.lstm import LSTMSequence

    return {
        "LSTM": partial(run_sequence, LSTMSequence, ()),
        "GRU": partial(run_sequence, GRUSequence, ()),
        "RNN_TANH": partial(run_sequence, ElmanSequence, (False,)),
        "RNN_RELU": partial(run_sequence, ElmanSequence, (True,)),
    }
