"""Require a torch device (without TF32), ask whether it has bf16, recognise lack of memory, suit tensors to it.

Torch has its own error type only for refusals by its own GPU allocator. Refusals by the driver ("CUDA error: out of
memory"), cuBLAS (CUBLAS_STATUS_ALLOC_FAILED), cuDNN (CUDNN_STATUS_ALLOC_FAILED, since version 9
CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED) and NCCL ("Cuda failure 2 'out of memory'", on a later line) are
a plain RuntimeError.
"""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base import ModelError, is_out_of_memory

POSITIONS = {"cpu": 4_096, "cuda": 16_384}
"""Positions that a network reads at a time while scoring, by device; changes the result only by rounding. On the
processor, 16,384 of an LSTM of 640 cells took up to 510 MiB instead of 97, and as long or longer."""
ROW_MULTIPLE = 32
"""On the processor, products in bf16 whose number of rows varies have a multiple of this; see `with_spare_rows`."""
_ONES: dict[torch.device, Tensor] = {}


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; its type where the message is empty."""
    return str(error).partition("\n")[0] or type(error).__name__


@contextmanager
def out_of_memory(name: str, device: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors, which differ by device, into a ModelError that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"Not enough memory on {device} for model '{name}': {first_line(error)}; "
            "a smaller batch, window or hidden size, or objective.chunk, needs less",
            "memory",
        ) from error


log = logging.getLogger(__name__)


def require_device(device: str) -> None:
    """Refuse a device that torch cannot use, and turn off TF32 so that float32 products are full float32 on a GPU.

    On GPUs since Ampere, cuDNN's recurrent layers round the factors of float32 products to TF32 by default. TF32 has 10
    bits of mantissa, so a score would differ from the CPU's by far more than 1e-6. Both switches use torch's older API.
    With the newer one (`torch.backends.cudnn.rnn.fp32_precision`) every later read through the older API fails, and
    `torch.backends.cudnn.flags` reads through the older API.

    Args:
        device: "cpu", "cuda", or one of several GPUs: "cuda:1".

    Raises:
        ModelError: kind "input": the device is a GPU that does not exist.
    """
    place = torch.device(device)
    if place.type != "cuda":
        return
    if problem := gpu_problem():
        raise ModelError(
            f"a GPU is requested (device {device}), but {problem}; set execution.device to cpu, or install a driver "
            "and a torch with CUDA",
            "input",
        )
    if (place.index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise ModelError(f"device {device} is requested, but {seen} GPUs are visible", "input")

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def gpu_problem() -> str:
    """Return why torch can use no GPU, "" if it can."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return ""
    if not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} was built without CUDA"
    if warned:
        return str(warned[0].message).partition(" (Triggered")[0]
    return "its driver shows none"


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; a copy to a GPU is queued behind its work, and the host does not wait for it."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def one(device: torch.device) -> Tensor:
    """Return the number 1 on a device (float32, scalar), always the same tensor: see `is_one`."""
    if device not in _ONES:
        _ONES[device] = torch.ones((), device=device)
    return _ONES[device]


def is_one(scale: Tensor) -> bool:
    """Return whether a scalar is 1, as far as that is known without a wait for a GPU: there, whether it is `one`."""
    if not scale.is_cuda:
        return scale.item() == 1
    return (stored := _ONES.get(scale.device)) is not None and stored.data_ptr() == scale.data_ptr()


def free_cached_memory() -> None:
    """Return GPU memory that torch keeps for later tensors to the system, for other processes."""
    gc.collect()
    torch.cuda.empty_cache()


def onednn_has_bf16() -> bool:
    """Return whether oneDNN multiplies matrices in bfloat16 with the instructions that it may use on this processor."""
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def with_spare_rows(x_NE: Tensor) -> Tensor:
    """Return a matrix with rows of zeros after its own, so that few numbers of rows occur: in bf16 on the processor.

    oneDNN prepares code and buffers for each shape of a product and keeps them. Each update has another number of
    tokens in a tail, and of different words: without spare rows, hundreds of shapes were prepared and filled up to 2
    GB.
    """
    spare = 0
    if x_NE.dtype == torch.bfloat16 and x_NE.device.type == "cpu":
        spare = -len(x_NE) % ROW_MULTIPLE

    if spare:
        return F.pad(x_NE, (0, 0, 0, spare))
    return x_NE


@cache
def cudnn_has_bf16(mode: str, device: torch.device) -> bool:
    """Return whether cuDNN runs recurrent layers in bfloat16 on a GPU, forward and backward; log once if it does not.

    Torch passes them to cuDNN from cuDNN 9.13 on. Before that, torch uses its own kernels, which read one position at a
    time, or has none. The function runs a tiny layer; the name of its autograd node shows which library ran it.

    Args:
        mode: torch.nn's name of the layer's kind: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
    """
    options = {}
    if mode.startswith("RNN_"):
        options = {"nonlinearity": mode[4:].lower()}

    with (
        torch.random.fork_rng(devices=[]),
        torch.autocast(device.type, enabled=False),
        torch.enable_grad(),
    ):
        try:
            layer = getattr(nn, mode.partition("_")[0])(8, 8, **options).to(device, torch.bfloat16)
            h = layer(
                torch.zeros(
                    2,
                    8,
                    8,
                    device=device,
                    dtype=torch.bfloat16,
                )
            )[0]
            h.sum().backward()
            made_by = h.grad_fn
        except RuntimeError:  # "not implemented for 'BFloat16'", CUDNN_STATUS_NOT_SUPPORTED …
            made_by = None

    if _was_made_by("Cudnn", made_by):
        return True

    log.warning(
        "cuDNN has no recurrent layers in bfloat16 here (%s): they train in float32, with products in TF32 "
        "where the GPU has that",
        mode,
    )
    return False


def _was_made_by(name: str, node: Any) -> bool:
    """Return whether the name of an autograd node, or of a node it depends on, begins with *name*."""
    if node is None:
        return False
    return type(node).__name__.startswith(name) or any(
        _was_made_by(name, before) for before, _ in node.next_functions
    )


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Use *count* threads for matrix products; restore the old number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
