"""Compile a numeric kernel with numba; torch is not imported, so a data stage does not wait for it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from types import FunctionType
from typing import Any

import numpy as np
from numba import config, njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserWideCacheLocator
from numba.extending import intrinsic

FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
"""The compiler may reorder sums, always in the same way. `nnan` is not set: with it the compiler may drop a NaN in its
vector loop and keep it in the remainder, so training that has diverged would look healthy on one CPU and not on
another. numpy's division (`error_model`) has no branch; with a branch, a loop with a quotient would not be vectorised.
"""
CONSTANTS = (bool, int, float, str, tuple, np.generic)
"""Kinds of global values that are compiled into a kernel as they are."""
log = logging.getLogger(__name__)


class CopyLocator(UserWideCacheLocator):
    """One folder for all copies of a package whose name is a digest of its files, as in a logged model.

    numba looks next to the file. But every model has its own copy, so each would be compiled at its first use.
    """

    def __init__(self, function: Any, file: str) -> None:
        super().__init__(function, file)
        root = config.CACHE_DIR or Path(self._cache_path).parent  # type: ignore[attr-defined]
        self._cache_path = str(Path(root) / function.__module__)

    @classmethod
    def from_function(cls, function: Any, file: str) -> CopyLocator | None:
        """Return the place of a kernel's compiled code; None if it is in no copy, or the folder cannot be written."""
        return super().from_function(function, file) if __package__ != "reviewlm.models" else None  # type: ignore[no-any-return]


class CompiledFiles(CompileResultCacheImpl):
    """The files of a kernel's compiled code."""

    _locator_classes = [CopyLocator, *CompileResultCacheImpl._locator_classes]  # noqa: RUF012  # as numba has it


class KernelCache(FunctionCache):
    """The compiled code of a kernel on disk; without it, as on a full disk, each process compiles the kernel again.

    An error of the cache must not leave the call of a kernel: while a file is read, it would be taken for one of that
    file, and whole reviews would be set aside as damaged.
    """

    _impl_class = CompiledFiles

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._function: Callable[..., Any] | None = function

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled code for a signature; None if there is none that can be read."""
        if (
            self._function is not None
        ):  # at the first call, when its module and those below it are complete
            self._cache_file._source_stamp, self._function = source_stamp(self._function), None  # type: ignore[attr-defined]
        try:
            try:
                return super().load_overload(sig, target_context)
            except (EOFError, UnpicklingError):  # a loss of power has torn a file
                self.flush()
        except OSError as error:
            _tell(self.cache_path, error.strerror or str(error))
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled code for a signature, if the disk takes it."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _tell(self.cache_path, error.strerror or str(error))


def source_stamp(function: Any) -> str:
    """Return the digest of all that is compiled into a kernel: its file, and the functions and constants it uses.

    numba only looks at the kernel's own file. So after a change in a file from which a kernel takes a function or a
    constant, the old code would still run.
    """
    files, constants, seen, todo = set[str](), set[tuple[str, str]](), set[Any](), [function]
    while todo:
        # A kernel and an intrinsic keep the function from which they were made.
        made = todo.pop()
        made = getattr(made, "py_func", getattr(made, "_defn", made))
        if not isinstance(made, FunctionType) or made in seen:
            continue
        seen.add(made)
        files.add(made.__code__.co_filename)
        for name in made.__code__.co_names:
            value = made.__globals__.get(name)
            if isinstance(value, CONSTANTS):
                constants.add((name, repr(value)))
            elif isinstance(value, np.ndarray):
                constants.add((name, repr((value.dtype, value.shape, value.tobytes()))))
            elif (
                str(getattr(value, "__module__", "")).split(".")[0] == made.__module__.split(".")[0]
            ):
                todo.append(value)
    digest = hashlib.sha256(repr(sorted(constants)).encode())
    for content in sorted(Path(file).read_bytes() for file in files):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


@cache
def _tell(folder: str, why: str) -> None:
    """Warn, once in a process for each folder and reason."""
    log.warning(
        "Compiled code cannot be kept in %s (%s), so each process compiles it again. Free some space there, allow "
        "writing, or name another folder in NUMBA_CACHE_DIR.",
        folder,
        why,
    )


def kernel(function: Callable[..., Any], fast: set[str] | bool = FAST, nogil: bool = True) -> Any:
    """Compile a kernel at its first call, and cache it for other processes if there is a writable folder for it.

    numba looks for it in NUMBA_CACHE_DIR, next to the kernel's file and below the user's home; see `CopyLocator` for
    logged models. *fast* may change rounding. *nogil*: other threads run meanwhile. A kernel of a few microseconds
    keeps them waiting instead, because to get the interpreter back from a busy thread takes up to 5 ms.
    """
    compiled = njit(fastmath=fast, error_model="numpy", nogil=nogil)(function)
    with suppress(RuntimeError):  # no writable folder: a read-only installation
        compiled._cache = KernelCache(function)  # type: ignore[attr-defined]  # `enable_caching` with a cache of ours
    return compiled


def _number_at(stored: types.Type, wide: types.Type) -> Any:
    """Return the function (address, index) → number, for kernels, that reads an array of type *stored*."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, index = arguments
        pointer = builder.inttoptr(address, context.get_value_type(types.CPointer(stored)))
        return context.cast(builder, builder.load(builder.gep(pointer, [index])), stored, wide)

    @intrinsic  # type: ignore[untyped-decorator]
    def number_at(typing_context, address, index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return wide(types.intp, types.intp), generate

    return number_at


byte_at, uint16_at, uint32_at, int64_at = (
    _number_at(stored, types.int64)
    for stored in (types.uint8, types.uint16, types.uint32, types.int64)
)
"""Functions, for kernels, that read a whole number of an array, given the array's address: an argument that is an array
costs each call from Python a tenth of a microsecond, and one that is an address next to nothing. The caller keeps the
array alive; it is aligned, contiguous and in the machine's order of bytes."""
float32_at, float64_at = (
    _number_at(stored, types.float64) for stored in (types.float32, types.float64)
)
"""The same for other numbers."""


def _address_of(typing_context, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_helper(builder, buffer, arguments[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.int64))

    return types.int64(buffer), generate


address_of: Any = intrinsic(_address_of)
"""Function, for kernels, that returns the address (int64) of the first byte of some bytes."""
