"""Tell an allocation that failed from other errors; the libraries have no common type for it, only words."""

from __future__ import annotations

SAID_BY_ALLOCATORS = (
    "allocate memory", "not enough memory", "out of memory", "memory allocation of", "std::bad_alloc", "ALLOC_FAILED",
    "ALLOCATION_FAILED",
)  # fmt: skip
LOWER = (
    "lower what needs it (hidden, embedding, batch or window of the model, size of the vocabulary, source.part_rows, "
    "execution.workers), or give it more memory; a rerun goes on from what is finished"
)
"""What to do about it."""
MAY_SAY_SO = ("PanicException", "OutOfMemoryError")
"""Types of Rust libraries and of torch, by name: none of them is imported for this."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that an allocation failed: Python's, numpy's, torch's, or a Rust library's."""
    if isinstance(error, MemoryError):
        return True
    fits = isinstance(error, RuntimeError | OSError) or type(error).__name__ in MAY_SAY_SO
    return fits and says_out_of_memory(str(error))


def says_out_of_memory(text: str) -> bool:
    """Return whether what a library or a process said is about an allocation that failed."""
    return any(words in text for words in SAID_BY_ALLOCATORS)


def first_line(error: BaseException) -> str:
    """Return type and first line of what an exception says."""
    try:
        said = str(error).partition("\n")[0]
    except Exception:  # one that fails to describe itself
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
