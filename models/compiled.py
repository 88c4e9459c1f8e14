"""Compile a numeric kernel with numba; torch is not imported, so a data stage does not wait for it."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from pickle import Unpickler, UnpicklingError
from types import FunctionType, ModuleType
from typing import IO, Any

import numpy as np
from numba import config, njit, types
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    UserWideCacheLocator,
)
from numba.core.environment import _rebuild_env
from numba.core.runtime import rtsys
from numba.core.sigutils import normalize_signature
from numba.extending import intrinsic

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: processes may compile the same kernel at once
    fcntl = None

FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
"""The compiler may reorder sums, always in the same way. `nnan` is not set: with it the compiler may drop a NaN in its
vector loop and keep it in the remainder, so training that has diverged would look healthy on one CPU and not on
another. numpy's division (`error_model`) has no branch; with a branch, a loop with a quotient would not be vectorised.
"""
CONSTANTS = (bool, int, float, str, tuple, np.generic)
"""Kinds of global values that are compiled into a kernel as they are."""
SHORT = 16
"""Hexadecimal digits of a content that name its folder."""
KEPT = 90 * 24 * 3600
"""Seconds that compiled code is kept after its last use, once the kernel's source has changed."""
LONGEST = 120.0
"""Seconds to wait at most for a process that compiles the same kernel."""
PAUSE = 0.02
READ_ONLY = "const "
"""Begin of the type of an array that its owner does not let others write, see `kernel`."""
KERNELS: list[Any] = []
"""All kernels of the modules that this process has imported, as numba's dispatchers."""
log = logging.getLogger(__name__)


class KernelFolder(UserWideCacheLocator):
    """The folder for the compiled code of all kernels of this user: NUMBA_CACHE_DIR, or one below the user's home.

    numba looks next to the kernel's file. But each registered model has a copy of the files, and so has each checkout:
    equal kernels would be compiled again for each of them. Here compiled code is found by its content (`source_stamp`).
    """

    def __init__(self, function: Any, file: str) -> None:
        super().__init__(function, file)
        root = config.CACHE_DIR or Path(self._cache_path).parent  # type: ignore[attr-defined]
        self._cache_path = str(Path(root) / "reviewlm")


class CompiledFiles(CompileResultCacheImpl):
    """How a kernel's compiled code is written; numba's own folders are taken if that of the user is not writable."""

    _locator_classes = [KernelFolder, *CompileResultCacheImpl._locator_classes]  # noqa: RUF012  # as numba has it


class ContentFile(IndexDataCacheFile):
    """The compiled code of one kernel, which every copy of its module can read.

    numba stores names of modules with the code. Those of the package that wrote them become those of this package.
    """

    def _save_data(self, name: str, data: Any) -> None:
        super()._save_data(name, (__package__, self._dump(data)))  # type: ignore[no-untyped-call]

    def _load_data(self, name: str) -> Any:
        package, content = super()._load_data(name)  # type: ignore[no-untyped-call]
        data = CodeUnpickler(io.BytesIO(content), package).load()
        descriptor = data[1]
        descriptor.modname = module_here(descriptor.modname, package)
        return data


class CodeUnpickler(Unpickler):
    """Read compiled code that a copy of this package may have written.

    Args:
        content: What numba has pickled.
        package: Name of the package that wrote it.
    """

    def __init__(self, content: IO[bytes], package: str) -> None:
        super().__init__(content)
        self._package = package

    def find_class(self, module: str, name: str) -> Any:
        """Return an object of a module by its name; numba's environment of a kernel belongs to the module here."""
        found = super().find_class(module, name)
        if found is not _rebuild_env:
            return found

        def rebuild(
            module: str,
            constants: list[Any],
            environment: str,
        ) -> Any:
            return _rebuild_env(module_here(module, self._package), constants, environment)  # type: ignore[no-untyped-call]

        return rebuild


def module_here(module: str, package: str) -> str:
    """Return the name of a module of *package*, a copy of this package, as a module of this package.

    Modules of other packages keep their name.
    """
    if module.startswith(f"{package}."):
        return f"{__package__}{module.removeprefix(package)}"
    return module


class KernelCache(FunctionCache):
    """The compiled code of a kernel on disk; without it, as on a full disk, each process compiles the kernel again.

    One process compiles a kernel; others that need it meanwhile wait for its file. An error of the cache must not leave
    the call of a kernel: while a file is read, it would be taken for one of that file, and whole reviews would be set
    aside as damaged.
    """

    _impl_class = CompiledFiles

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._function = function
        self._is_open = False
        self._lock: IO[bytes] | None = None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled code for a signature; None if there is none that can be read: this process compiles it."""
        try:
            # At the first call, when its module and those below it are complete.
            if not self._is_open:
                self._open()
            code = self._load(sig, target_context)
            if code is None and self._wait_for_others():
                code = self._load(sig, target_context)
                if code is not None:
                    self._unlock()

            if code is None:
                _tell_compiling()
            return code
        except OSError as error:
            _tell(self.cache_path, error.strerror or str(error))
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled code for a signature, if the disk takes it."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _tell(self.cache_path, error.strerror or str(error))
        finally:
            self._unlock()

    def _open(self) -> None:
        """Open the folder of the kernel's content; remove those of former contents that were not used for long."""
        stamp = source_stamp(self._function)
        name = self._impl.filename_base
        folder = Path(self.cache_path) / f"{name}-{stamp[:SHORT]}"
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        self._cache_file = ContentFile(str(folder), name, stamp)  # type: ignore[no-untyped-call]
        self._cache_path = str(folder)
        self._is_open = True

        for other in folder.parent.glob(f"{name}-*"):
            if other.stat().st_mtime < time.time() - KEPT:
                shutil.rmtree(other, ignore_errors=True)

    def _load(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled code of the disk.

        numba would first import all that it can compile, half a second; code that is compiled needs its allocator alone.
        """
        rtsys.initialize(target_context)
        try:
            with self._guard_against_spurious_io_errors():  # type: ignore[no-untyped-call]
                return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]
            return None
        except (EOFError, UnpicklingError):  # a loss of power has torn a file
            self.flush()
            return None

    def _wait_for_others(self) -> bool:
        """Lock the kernel for compiling, and return whether to look for the code again: another process may have written it."""
        if fcntl is None or self._lock:
            return False

        self._lock = (Path(self.cache_path) / "lock").open("wb")
        end = time.monotonic() + LONGEST
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > end:
                    return True
                time.sleep(PAUSE)

    def _unlock(self) -> None:
        if fcntl is None or self._lock is None:
            return
        fcntl.flock(self._lock, fcntl.LOCK_UN)  # also for a process that was forked meanwhile
        self._lock.close()
        self._lock = None


def source_stamp(function: Any) -> str:
    """Return the digest of all that is compiled into a kernel: its file, and the functions and constants it uses.

    numba only looks at the kernel's own file. So after a change in a file from which a kernel takes a function or a
    constant, the old code would still run.
    """
    files: set[str] = set()
    constants: set[tuple[str, str]] = set()
    seen: set[Any] = set()
    todo = [function]
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


@cache
def _tell_compiling() -> None:
    """Say, once in a process, what takes seconds now."""
    log.info(
        "compiling numeric kernels for this processor, once; `python -m reviewlm.fill_cache` does it in advance"
    )


def kernel(
    function: Callable[..., Any],
    fast: set[str] | bool = FAST,
    nogil: bool = True,
    calls: Sequence[str] = (),
) -> Any:
    """Compile a kernel at its first call, and cache it for other processes if there is a writable folder for it.

    It is kept in NUMBA_CACHE_DIR or below the user's home (`KernelFolder`).

    Args:
        fast: Rounding may change.
        nogil: Other threads run meanwhile. A kernel of a few microseconds keeps them waiting instead, because to get
            the interpreter back from a busy thread takes up to 5 ms.
        calls: Types of the arguments with which the demo and frequent commands call it: the installation compiles it
            for them (`compile_calls`). Separated by ", ", as numba writes them; an array may be `READ_ONLY`. A kernel
            that only other kernels call is compiled with them.
    """
    compiled = njit(
        fastmath=fast,
        error_model="numpy",
        nogil=nogil,
    )(function)
    with suppress(RuntimeError):  # no writable folder: a read-only installation
        compiled._cache = KernelCache(function)  # type: ignore[attr-defined]  # `enable_caching` with a cache of ours

    compiled.calls = tuple(calls)  # type: ignore[attr-defined]
    KERNELS.append(compiled)
    return compiled


def compile_calls() -> int:
    """Compile the kernels of all imported modules for their `calls`; return how many were not compiled before."""
    new = 0
    for each in KERNELS:
        for call in each.calls:
            each.compile(argument_types(call))
        new += sum(each.stats.cache_misses.values())

    return new


def argument_types(call: str) -> tuple[types.Type, ...]:
    """Return the types of the arguments of a call, see `kernel`."""
    found = []
    for name in call.split(", "):
        written = name.removeprefix(READ_ONLY)
        [argument], _ = normalize_signature(f"({written},)")
        if written != name:
            argument = argument.copy(readonly=True)
        found.append(argument)

    return tuple(found)


def _number_at(stored: types.Type, wide: types.Type) -> Any:
    """Return the function (address, index) → number, for kernels, that reads an array of type *stored*."""

    def generate(
        context: Any,
        builder: Any,
        signature: Any,
        arguments: Any,
    ) -> Any:
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
    def generate(
        context: Any,
        builder: Any,
        signature: Any,
        arguments: Any,
    ) -> Any:
        data = context.make_helper(builder, buffer, arguments[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.int64))

    return types.int64(buffer), generate


address_of: Any = intrinsic(_address_of)
"""Function, for kernels, that returns the address (int64) of the first byte of some bytes."""
