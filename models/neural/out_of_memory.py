"""How a machine says that its memory does not suffice: every device has words of its own."""

from __future__ import annotations

import torch

SAID_BY_ALLOCATORS = ("allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory does not suffice: a GPU's, the processor's, or Python's own."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in first_line(error) for words in SAID_BY_ALLOCATORS)


def first_line(error: BaseException) -> str:
    """Return what an error says in one line; its type where it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__
