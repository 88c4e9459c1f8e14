"""End the process within seconds after Ctrl-C, SIGTERM or the closing of the terminal.

The frameworks below cannot be interrupted in bounded time: stages run in threads, long calls do not return to Python,
and exception handlers try to reach servers again. But a run does not need to be unwound: all finished results are in
the store, and every stage survives kill -9. So a separate thread receives the signal, prints one line, lets the
registered clean-ups run for some seconds, kills the children and ends the process. A second Ctrl-C ends it at once.

A command that is not a run is unwound (KeyboardInterrupt) within the same time, so that it can remove unfinished files.
A server is told to stop, and gets more time to finish the requests in progress.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from reviewlm.core.processes import standard_streams
from reviewlm.core.processes.children import end_children
from reviewlm.core.processes.leftovers import remove_own_folder
from reviewlm.models.atomic_files import remove_unfinished

GRACE = 3.0
"""Seconds for clean-ups, or for a command to unwind."""
KILLING = 0.7
"""Seconds to wait for killed children, and again for the removal of temporary files."""
SAYING = 0.5
"""Seconds to write the line: the reader of standard error may be stalled."""
SAID = {
    "SIGINT": "Interrupted",
    "SIGTERM": "Terminated",
    "SIGHUP": "The terminal was closed: interrupted",
}
CLEAR_LINE = "\r\x1b[2K\x1b[?25h"
"""Clears a progress bar, which may be on the current line and hides the cursor."""


class _Process:
    """State of this process: its work, the signals it listens to, that which ends it (0: none), another exit code."""

    def __init__(self) -> None:
        self.signal = 0
        self.heard: set[int] = set()
        self.code: int | None = None
        self.unwinding = False
        self.resumable = 0
        self.hint = ""
        self.stop: Callable[[], object] | None = None
        self.draining = 0.0
        self.idle = 0
        self.doing: list[str] = []
        self.last = ""
        self.clean_ups: list[Callable[[], object]] = []
        self.lock = threading.RLock()  # a signal handler runs in the main thread, which may hold it
        self.leaving = threading.Lock()
        self.said = threading.Event()


_process = _Process()


@contextmanager
def watch_signals() -> Iterator[None]:
    """Watch for the signals that end a process, in its main thread; ignored signals stay ignored (nohup)."""
    numbers = [signal.Signals[name] for name in SAID]
    before = {
        number: signal.getsignal(number)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    _process.heard = {int(number) for number in before}
    threading.Thread(
        target=_watch,
        args=[reading],
        name="signals",
        daemon=True,
    ).start()
    # The thread gets the signal from the operating system. The main thread may be inside a long call, and Prefect
    # (SIGTERM) and polars (SIGINT) replace its handlers.
    previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in before:
        signal.signal(number, _in_main_thread)

    try:
        yield
    finally:
        if _process.signal:
            _leave()  # no matter how the command was unwound
        signal.set_wakeup_fd(previous)
        _process.heard = set()
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)


def hear_interrupt() -> None:
    """Let SIGINT end this process even where the shell ignores it for a job in the background, as uvicorn does.

    A script that starts a server with `&` ends it with `kill -INT`. Other commands keep ignoring the signal.
    """
    if _process.heard and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        _process.heard.add(int(signal.SIGINT))
        signal.signal(signal.SIGINT, _in_main_thread)


@contextmanager
def resumable(hint: str) -> Iterator[None]:
    """Mark a run, which is ended without being unwound; *hint* tells the user how to continue."""
    _process.hint = hint
    _process.resumable += 1
    try:
        yield
    finally:
        _process.resumable -= 1


@contextmanager
def drain_on_signal(stop: Callable[[], object], seconds: float) -> Iterator[None]:
    """Mark the work of a server: a signal calls *stop*, and the block gets *seconds* to end by itself.

    A second Ctrl-C ends the process at once.
    """
    _process.stop = stop
    _process.draining = seconds
    try:
        yield
    finally:
        _process.stop = None


@contextmanager
def during(what: str) -> Iterator[None]:
    """Name the current work, for the line that an interrupt prints. Several threads may work at the same time."""
    with _process.lock:
        _process.doing.append(what)
    try:
        yield
    finally:
        with _process.lock:
            _process.doing.remove(what)
            _process.last = what


@contextmanager
def idle() -> Iterator[None]:
    """Mark a wait for what others do, in which silence is right, until the block names some work."""
    _process.idle += 1
    try:
        yield
    finally:
        _process.idle -= 1


def work_in_progress(command: str = "") -> str:
    """Return the names of the current work, set by `during`; empty while the process waits for others, and at the end.

    Args:
        command: What the user has called, for the time without a named step.
    """
    if _process.stop is not None or _process.signal:
        return ""
    with _process.lock:
        doing = ", ".join(dict.fromkeys(_process.doing))
    if _process.idle and not doing:
        return ""
    if library := _library_being_loaded():
        return ", ".join(filter(None, [doing, f"loading {library}"]))
    return doing or f"{command}: still working".removeprefix(": ")


def _library_being_loaded() -> str:
    """Return the library that the main thread imports now, "" if none; on a busy machine it takes many seconds."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    library = ""
    while frame is not None and frame.f_back is not None:
        caller = str(frame.f_back.f_globals.get("__name__", ""))
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        ours = name == "reviewlm" or name in sys.stdlib_module_names
        if caller.startswith("importlib.") and not ours:
            library = name  # the outermost one: what our own code asked for
        frame = frame.f_back

    return library


def at_interrupt(clean_up: Callable[[], object]) -> None:
    """Register a clean-up for an interrupt; the last one registered runs first. It may be cut off at any time."""
    if clean_up not in _process.clean_ups:
        _process.clean_ups.append(clean_up)


@contextmanager
def cleaned_up(clean_up: Callable[[], object]) -> Iterator[None]:
    """Register a clean-up, as `at_interrupt` does, for the time of this block."""
    at_interrupt(clean_up)
    try:
        yield
    finally:
        _process.clean_ups.remove(clean_up)


def end_run(line: str, code: int | None = None) -> None:
    """End this process from within, as SIGTERM ends a run: write the line, clean up, kill the children (exit code 143).

    For work that is stuck, or that somebody else does. It need not be in a process that `watch_signals` watches. Return at once;
    the process ends in seconds.

    Args:
        code: Another exit code.
    """
    _process.resumable += 1
    _process.code = code
    _begin(signal.SIGTERM, line)


def pending() -> bool:
    """Return whether this process is being ended, so that failures from now on are a consequence."""
    return bool(_process.signal)


def _watch(reading: int) -> None:
    before: int | None = None
    while heard := os.read(reading, 64):
        for number in heard:
            if number not in _process.heard:
                continue
            if before is not None and number == signal.SIGINT:
                # Second Ctrl-C: end at once; the children end with this process.
                os._exit(128 + _process.signal)
            # Not `_process.signal`: the main thread may have set it for this signal.
            before = number
            _begin(number)

    os.close(reading)


def _in_main_thread(number: int, frame: object) -> None:
    if _process.resumable or _process.stop is not None:
        return  # `_watch` hears of it too
    _begin(number)
    _process.said.wait(2 * SAYING)  # the line and the JSON come before anything is closed
    if not _process.unwinding:
        _process.unwinding = True
        raise KeyboardInterrupt


def _begin(number: int, line: str = "") -> None:
    with _process.lock:
        if _process.signal:
            return
        _process.signal = number
        doing = list(dict.fromkeys(_process.doing))
        last = _process.last
    threading.Thread(
        target=_end,
        args=(number, line or _line(number, doing, last)),
        name="ending",
        daemon=True,
    ).start()


def _line(
    number: int,
    doing: list[str],
    last: str,
) -> str:
    event = SAID[signal.Signals(number).name]
    if _process.stop is not None:
        return f"{event}; finishing the requests in progress, for at most {_process.draining:g} s"
    if not _process.resumable:
        return event

    when = "during start-up"
    if doing:
        when = f"during {', '.join(doing)}"
    elif last:
        when = f"after {last}"

    return f"{event} {when}; {_process.hint}"


def _tell(number: int, line: str) -> None:
    """Write the line, and as JSON where that was asked for; then discard all later output.

    Threads that lose their servers, and libraries, write log lines.
    """
    error = {
        "kind": "Interrupted",
        "what": line,
        "where": "",
        "value": None,
        "cause": signal.Signals(number).name,
        "remedy": _process.hint if _process.resumable else "",
        "exit_code": _exit_code(),
    }
    standard_streams.end_with(error)
    with suppress(OSError):
        before = CLEAR_LINE if os.isatty(2) else ""
        os.write(
            2,
            f"{before}{line}\n".encode(getattr(sys.stderr, "encoding", None) or "utf-8", "replace"),
        )

    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)


def _end(number: int, line: str) -> None:
    _within(SAYING, lambda: _tell(number, line))
    _process.said.set()
    stop = _process.stop
    if stop is not None:
        _within(GRACE, stop)
        # The block gets time to end, and the main thread time to leave `watch_signals`.
        time.sleep(_process.draining + GRACE)
    elif not _process.resumable:
        # The main thread may wait in a call that continues after the handler of polars (SIGINT). SIGTERM goes to
        # Python's own handler, which interrupts the call.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        time.sleep(GRACE)  # time for the main thread to unwind and leave `watch_signals`

    _leave()


def _clean_up() -> None:
    for clean_up in reversed(_process.clean_ups):
        with suppress(Exception):
            clean_up()


def _leave() -> NoReturn:
    with _process.leaving:
        _process.said.wait(2 * SAYING)
        _within(GRACE if _process.resumable else KILLING, _clean_up)
        end_children(KILLING)
        _within(KILLING, remove_own_folder)
        _within(KILLING, remove_unfinished)  # the main thread may not have unwound in time
        os._exit(_exit_code())


def _exit_code() -> int:
    if _process.code is None:
        return 128 + _process.signal
    return _process.code


def _within(seconds: float, work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
