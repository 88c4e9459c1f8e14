"""Recognise out-of-memory errors of every device and library that torch uses.

Torch has its own error type only for refusals by its own GPU allocator. Refusals by the driver ("CUDA error: out of
memory"), cuBLAS (CUBLAS_STATUS_ALLOC_FAILED), cuDNN (CUDNN_STATUS_ALLOC_FAILED, since version 9
CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED) and NCCL ("Cuda failure 2 'out of memory'", on a later line) are
a plain RuntimeError.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ..base import ModelError

if TYPE_CHECKING:
    from .spec import NPLMSpec, RecurrentSpec

SAID_BY_ALLOCATORS = ("allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory does not suffice: on a GPU, on the CPU, or in Python itself."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAID_BY_ALLOCATORS)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; its type where the message is empty."""
    return str(error).partition("\n")[0] or type(error).__name__


@contextmanager
def out_of_memory(spec: RecurrentSpec | NPLMSpec, device: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors, which differ by device, into a ModelError that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"Not enough memory on {device} for model '{spec.name}': {first_line(error)}; "
            "a smaller batch, window or hidden size, or objective.chunk, needs less",
            "memory",
        ) from error
