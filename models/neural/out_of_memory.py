"""How a machine says that its memory does not suffice: every device, and each of its libraries, has words of its own.

Torch has a type of error for what its own allocator of a GPU is refused. What the driver refuses ("CUDA error: out of
memory"), cuBLAS (CUBLAS_STATUS_ALLOC_FAILED), cuDNN (CUDNN_STATUS_ALLOC_FAILED, since version 9
CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED) and NCCL ("Cuda failure 2 'out of memory'", on a later line) is a
RuntimeError like any other.
"""

from __future__ import annotations

import torch

SAID_BY_ALLOCATORS = ("allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory does not suffice: a GPU's, the processor's, or Python's own."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAID_BY_ALLOCATORS)


def first_line(error: BaseException) -> str:
    """Return what an error says in one line; its type where it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__
