"""Call functions in a process that imports their libraries beside this one.

A run that begins in a new home has an idle core while it imports its own libraries, and needs others a moment later. So
a process is forked at once, imports these, and waits for calls. Whatever prevents a call there is no error: the function
is then called here, and raises here what it raises.

The process is forked before this one computes with numeric libraries (`core/processes/forks.py`), so it may.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pickle import PicklingError
from pkgutil import resolve_name
from typing import Any, ParamSpec, TypeVar

from reviewlm.core.processes.children import end_child
from reviewlm.core.processes.forks import can_fork, fork_child
from reviewlm.core.processes.memory import lasting_objects

P = ParamSpec("P")
R = TypeVar("R")
NAME = "imports ahead"
STANDARD_ERROR = 2
log = logging.getLogger(__name__)
_ahead: list[AheadProcess] = []
"""Processes of the open blocks."""


class AheadProcess:
    """A process that imports libraries, then calls functions.

    Args:
        libraries: Modules, or functions "module:name" without arguments that import them.
    """

    def __init__(self, libraries: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._connection, theirs = Pipe()
        with theirs:
            self._child = fork_child(
                lambda: serve(theirs, libraries),
                NAME,
                dict(os.environ),
                [theirs.fileno()],
                STANDARD_ERROR,
            )

    def call(self, function: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        """Return whether a function "module:name" was called and returned, and its result."""
        with self._lock:
            try:
                self._connection.send((function, arguments))
                done, result = self._connection.recv()
            except (OSError, EOFError, PicklingError, TypeError, AttributeError) as error:
                done, result = False, error

        if not done:
            log.debug("%s was not called ahead: %s", function, result)
        return done, result

    def end(self) -> None:
        """End the process."""
        with suppress(OSError):
            self._connection.close()
        end_child(self._child)


def serve(calls: Connection, libraries: Sequence[str]) -> None:
    """Import libraries, then call functions until the other end of the connection is closed."""
    with lasting_objects():
        for library in libraries:
            with suppress(Exception):  # who needs it will say why it cannot be imported
                module, _, function = library.partition(":")
                found = import_module(module)
                if function:
                    getattr(found, function)()

    while True:
        try:
            function, arguments = calls.recv()
        except (EOFError, OSError):
            return

        try:
            calls.send((True, resolve_name(function)(*arguments)))
        except Exception as error:
            calls.send((False, repr(error)))


@contextmanager
def imported_ahead(libraries: Sequence[str]) -> Iterator[None]:
    """Call the functions of this block that use these libraries in a process that imports them from now on.

    Without libraries, and where the system cannot fork, they are called here.
    """
    if not libraries or not can_fork():
        yield
        return

    process = AheadProcess(libraries)
    _ahead.append(process)
    try:
        yield
    finally:
        _ahead.remove(process)
        process.end()


def call_ahead(
    function: Callable[P, R],
    *arguments: P.args,
    **named: P.kwargs,
) -> R:
    """Return the result of a function of a module, called in the process of the surrounding `imported_ahead`, else here."""
    for process in _ahead[-1:]:
        if not named:
            name = f"{function.__module__}:{function.__qualname__}"
            done, result = process.call(name, arguments)
            if done:
                return result  # type: ignore[no-any-return]

    return function(*arguments, **named)
