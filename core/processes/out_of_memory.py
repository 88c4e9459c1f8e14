"""Recognise a failed memory allocation by its message: the libraries have no common exception type for it."""

from __future__ import annotations

SAID_BY_ALLOCATORS = (
    "allocate memory", "not enough memory", "out of memory", "memory allocation of", "std::bad_alloc", "ALLOC_FAILED",
    "ALLOCATION_FAILED",
)  # fmt: skip
LOWER = (
    "lower what uses memory (hidden, embedding, batch or window of the model, size of the vocabulary, "
    "source.part_rows, execution.workers), or give it more memory; a rerun reuses what is finished"
)
"""Advice for the user."""
MAY_SAY_SO = ("PanicException", "OutOfMemoryError")
"""Exception types of Rust libraries and of torch, by name, so that none of these libraries is imported."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception reports a failed allocation: of Python, numpy, torch or a Rust library."""
    if isinstance(error, MemoryError):
        return True
    fits = isinstance(error, RuntimeError | OSError) or type(error).__name__ in MAY_SAY_SO
    return fits and says_out_of_memory(str(error))


def says_out_of_memory(text: str) -> bool:
    """Return whether a message of a library or a process reports a failed allocation."""
    return any(words in text for words in SAID_BY_ALLOCATORS)


def first_line(error: BaseException) -> str:
    """Return the type and the first line of the message of an exception."""
    try:
        said = str(error).partition("\n")[0]
    except Exception:  # an exception whose `__str__` fails
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
