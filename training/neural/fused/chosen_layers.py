"""Let a network train with the layers and softmax of this folder, by kind of layer and by device.

They are imported when one is first needed: those of the CPU need numba, those of the GPU need Triton.
"""

from __future__ import annotations

import logging
import math
from functools import cache, partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from reviewlm.models.base import is_out_of_memory
from reviewlm.models.neural.device import first_line
from reviewlm.models.neural.layers.recurrent_layers import OwnRun
from reviewlm.models.neural.output import cross_entropy
from reviewlm.training.neural.fused.captured import for_replays
from reviewlm.training.neural.fused.sequence import run_sequence

Trained = TypeVar("Trained", bound=nn.Module)

log = logging.getLogger(__name__)


def train_with_own_layers(network: Trained) -> Trained:
    """Let a network's fused layers and softmaxes train with ours, except in float32 on a GPU; return the network."""
    cross_entropy.training_softmax = gpu_softmax
    for layer in network.modules():
        if isinstance(layer, nn.RNNBase):
            layer.chosen_run = own_run  # type: ignore[assignment]
    return network


def own_run(
    mode: str,
    device: torch.device,
    dtype: torch.dtype,
    special: bool,
) -> OwnRun | None:
    """Return our own layer where it is the faster one, else None.

    On the CPU torch's LSTM in float32 is oneDNN's, a tenth faster than ours where inputs are not `RepeatedInputs`. On a
    GPU ours launches two kernels per position. The host needs longer for that than for a call of cuDNN, unless
    they are replayed.

    Args:
        mode: torch.nn's name of the kind: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        device: On which it trains.
        dtype: Number format of its products.
        special: Streams are reset within windows, or inputs come without repetitions: torch's layers can do neither.
    """
    if device.type == "cpu":
        if special or mode != "LSTM" or dtype == torch.bfloat16:
            return sequences().get(mode)
        return None
    if dtype == torch.bfloat16 and (special or for_replays.get()):
        return gpu_sequences(device).get(mode)
    return None


def gpu_softmax(logits_NC: Tensor, classes_N: Tensor) -> Tensor | None:
    """Return −log softmax of the classes (N,), with p − y over the logits; None where we have no kernel for them."""
    if (
        logits_NC.dtype != torch.bfloat16
        or not logits_NC.is_cuda
        or not has_triton(logits_NC.device)
    ):
        return None
    from reviewlm.training.neural.fused.gpu_softmax import MOST_ENTRIES, nats_and_gradient

    if logits_NC.shape[1] <= MOST_ENTRIES:
        return nats_and_gradient(logits_NC, classes_N)
    return None


@cache
def has_triton(device: torch.device) -> bool:
    """Return whether Triton compiles and runs kernels on a GPU; log once if it does not.

    It comes with the CUDA builds of torch, compiles with the system's C compiler, and needs the GPU to have bf16. The
    function runs a tiny kernel.
    """
    if torch.version.hip:  # not tried; warps there are twice as wide
        return False

    try:
        from reviewlm.training.neural.fused.gpu_softmax import nats_and_gradient

        logits_NC = torch.zeros(1, 8, device=device, dtype=torch.bfloat16)
        found_N = nats_and_gradient(logits_NC, torch.zeros(1, device=device, dtype=torch.int64))
        if abs(float(found_N) - math.log(8)) < 1e-3:
            return True
        reason = "a wrong result"
    except Exception as error:  # Triton's own errors have no common type
        if is_out_of_memory(error):
            raise
        reason = first_line(error)

    log.warning("no kernels of our own on this GPU (%s): training is slower", reason)
    return False


@cache
def gpu_sequences(device: torch.device) -> dict[str, OwnRun]:
    """Return our own layers of a GPU, by mode; empty without Triton."""
    if not has_triton(device):
        return {}
    from reviewlm.training.neural.fused.gpu_lstm import run_lstm

    return {"LSTM": run_lstm}


@cache
def sequences() -> dict[str, OwnRun]:
    """Return our own layers of the CPU, by mode."""
    from reviewlm.training.neural.fused.cells import ElmanSequence, GRUSequence, LSTMSequence

    return {
        "LSTM": partial(run_sequence, LSTMSequence, ()),
        "GRU": partial(run_sequence, GRUSequence, ()),
        "RNN_TANH": partial(run_sequence, ElmanSequence, (False,)),
        "RNN_RELU": partial(run_sequence, ElmanSequence, (True,)),
    }
