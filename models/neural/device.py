"""What a network's device is asked before anything is computed on it: whether it is there, and which formats it has."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch
from torch import nn

from ..base import ModelError

log = logging.getLogger(__name__)


def require_device(device: str) -> None:
    """Refuse a device that torch cannot use, and let float32 mean float32 on a GPU.

    On GPUs since Ampere cuDNN's recurrent layers by default round the factors of float32 products to TF32, which has 10
    bits of mantissa: a score would differ by far more than 1e-6 from that of the processor. Both switches are set in
    torch's older way: the newer one (`torch.backends.cudnn.rnn.fp32_precision`) lets every later question in the older
    way fail, and `torch.backends.cudnn.flags` asks that way.

    Args:
        device: "cpu", "cuda", or one of several: "cuda:1".

    Raises:
        ModelError: kind "input": it is a GPU that is not there.
    """
    wanted = torch.device(device)
    if wanted.type != "cuda":
        return
    if not torch.cuda.is_available():
        lacking = "finds none" if torch.backends.cuda.is_built() else f"{torch.__version__} was built without CUDA"
        raise ModelError(
            f"a GPU is asked for (device {device}), but torch {lacking}; set execution.device to cpu, or install "
            "a driver and a torch with CUDA",
            "input",
        )
    if (wanted.index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise ModelError(f"device {device} is asked for; there are {seen} GPUs to be seen", "input")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@cache
def cudnn_has_bf16(mode: str, device: torch.device) -> bool:
    """Return whether cuDNN runs recurrent layers in bfloat16 on a GPU, forward and backward; says so once if not.

    Torch hands them over from cuDNN 9.13 on; before, its own kernels, which read position by position, would step in,
    or there would be none. A tiny layer is run, and the name of what differentiates it says who ran it.

    Args:
        mode: torch.nn's name of the layer's kind: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        device: The GPU.
    """
    if _runs_in_bf16(mode, device):
        return True
    log.warning("cuDNN has no recurrent layers in bfloat16 here (%s): they train in float32", mode)
    return False


def _runs_in_bf16(mode: str, device: torch.device) -> bool:
    options = {"nonlinearity": mode[4:].lower()} if mode.startswith("RNN_") else {}
    with torch.random.fork_rng(devices=[]), torch.autocast(device.type, enabled=False), torch.enable_grad():
        try:
            layer = getattr(nn, mode.partition("_")[0])(8, 8, **options).to(device, torch.bfloat16)
            h_TBH = layer(torch.zeros(2, 8, 8, device=device, dtype=torch.bfloat16))[0]
            h_TBH.sum().backward()
        except RuntimeError:  # "not implemented for 'BFloat16'", CUDNN_STATUS_NOT_SUPPORTED …
            return False
    return _was_made_by("Cudnn", h_TBH.grad_fn)


def _was_made_by(name: str, node: Any) -> bool:
    """Return whether a node of autograd's graph, or one in front of it, has a name that begins so."""
    if node is None:
        return False
    return type(node).__name__.startswith(name) or any(_was_made_by(name, before) for before, _ in node.next_functions)
