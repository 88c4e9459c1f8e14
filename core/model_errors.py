"""Convert a `ModelError` of `models` to the class in `core/errors.py` that has its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import (
    BundleError,
    Diverged,
    FitError,
    InputError,
    OutOfMemory,
    ReviewLMError,
    disk_error_type,
    disk_remedy,
)
from models.base import ModelError

ERROR_TYPES: dict[str, type[ReviewLMError]] = {
    "fit": FitError, "diverged": Diverged, "memory": OutOfMemory, "bundle": BundleError, "input": InputError,
}  # fmt: skip


@contextmanager
def converted_errors(where: str | Path = "") -> Iterator[None]:
    """Convert a `ModelError` raised in the block into the project's error for it, with *where* as its place."""
    try:
        yield
    except ModelError as error:
        raise _converted(error, where) from error


def _converted(error: ModelError, where: str | Path) -> ReviewLMError:
    """Return the error by its kind; a disk error also by the operating system's number."""
    if error.kind == "disk":
        number = getattr(error.__cause__, "errno", None)
        return disk_error_type(number)(str(error), where=where, remedy=disk_remedy(number))
    return ERROR_TYPES.get(error.kind, FitError)(str(error), where=where)
