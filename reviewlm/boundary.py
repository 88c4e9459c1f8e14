"""Turn the end of every command into an exit code and, if it failed, into one message.

This is the outermost layer: no user sees a traceback. An expected error says what to do. An unexpected exception
becomes one sentence with the path of a crash log. This includes panics of Rust libraries, which derive from
BaseException. An interrupt passes through: `reviewlm/cli.py` handles it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any

from reviewlm import terminal
from reviewlm.core.errors import Crash, OutOfMemory, OutputClosed, ReviewLMError, UsageError
from reviewlm.core.processes import interrupts
from reviewlm.core.processes.crash_log import MEMORY_ADVICE, first_line, write_crash_log
from reviewlm.core.processes.standard_streams import (
    discard_output,
    guarded_streams,
    json_alone,
    wants_json,
)
from reviewlm.models.base import is_out_of_memory
from reviewlm.models.options import range_in_words

PASS = (KeyboardInterrupt, SystemExit, GeneratorExit)
NUMBERS = {"int_parsing": "a whole number", "float_parsing": "a number"}
INTERRUPTED = 130
"""Result of a command that Typer returns after Ctrl-C."""


def run_verb(verb: Callable[[], Any], arguments: Sequence[str]) -> int:
    """Run a command and return the exit code of the process.

    Args:
        verb: Parses the command line and runs the command.
        arguments: The command line without the program's name.

    Raises:
        KeyboardInterrupt: The user, or typer's `Abort`, ended it.
    """
    words = takewhile(lambda word: not word.startswith("-"), arguments)
    command = " ".join(["reviewlm", *words][:3])
    with guarded_streams(lambda: interrupts.work_in_progress(command)):
        error: ReviewLMError | None
        try:
            with json_alone(wants_json(arguments)) as document:
                code, error = _attempt(verb, arguments)
                if document is not None and error is not None:
                    document["error"] = error.to_dict()

            sys.stdout.flush()
        except ReviewLMError as unwritten:
            discard_output()
            code = unwritten.exit_code
            error = unwritten

        if error is not None and not isinstance(error, OutputClosed):
            terminal.show_error(error)
        return code


def _attempt(verb: Callable[[], Any], arguments: Sequence[str]) -> tuple[int, ReviewLMError | None]:
    """Run a command and return its exit code, with its error if it failed."""
    try:
        result = verb()
    except BaseException as ended:
        raised = _behind(ended)
        if isinstance(raised, PASS):
            raise
        if interrupts.pending():  # other failures are then a consequence of the interrupt
            raise KeyboardInterrupt from raised
        error = as_our_error(raised, arguments)
        if error is None:
            raise
        return error.exit_code, error

    if result == INTERRUPTED:
        raise KeyboardInterrupt

    return result if isinstance(result, int) else 0, None


def _behind(ended: BaseException) -> BaseException:
    """Return the actual cause of an exception.

    Typer exits quietly (SystemExit) if any pipe breaks, not only that of standard output.
    """
    broken = ended.__context__
    if isinstance(ended, SystemExit) and isinstance(broken, BrokenPipeError):
        return broken
    return ended


def as_our_error(raised: BaseException, arguments: Sequence[str]) -> ReviewLMError | None:
    """Return an exception as a ReviewLMError, or None if it is no failure (typer's `Abort` and `Exit`)."""
    if type(raised).__name__ in ("Abort", "Exit"):
        return None
    if isinstance(raised, ReviewLMError):
        return raised
    if callable(show := getattr(raised, "show", None)) and hasattr(raised, "format_message"):
        _use_our_words(raised)
        return UsageError(raised, show)

    chain = list(_chain(raised))
    ours = next((one for one in chain if isinstance(one, ReviewLMError)), None)
    if ours is not None:  # wrapped by a framework
        return ours
    refused = next((one for one in chain if is_out_of_memory(one)), None)
    if refused is not None:
        return OutOfMemory(
            "There is not enough memory", cause=first_line(refused), remedy=MEMORY_ADVICE
        )

    log = write_crash_log(raised, arguments)
    if log is None:
        sys.excepthook(type(raised), raised, raised.__traceback__)

    return Crash(first_line(raised), log)


def _use_our_words(error: Any) -> None:
    """Say in a parser's error what a number must be, as our other errors do; typer shows what pydantic says."""
    option = getattr(error, "param", None)
    for fault in getattr(error.__cause__, "errors", list)()[:1]:
        ends = {"ge": getattr(option, "min", None), "le": getattr(option, "max", None)}
        limits = range_in_words(**{name: end for name, end in ends.items() if end is not None})
        if allowed := ", ".join(filter(None, (NUMBERS.get(fault["type"]), limits))):
            error.message = f"it is {fault['input']}; it must be {allowed}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, the members of its group, and the exceptions that each was explicitly raised from."""
    waiting = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        waiting += [one.__cause__] if one.__cause__ is not None else []
