"""Restart a Python program with back-off when it fails, and rotate its log.

    python keep_running.py [--log FILE BYTES | --once NAME] [--left FOLDER MODULE] [-m MODULE | FILE] ARGUMENTS

A worker of Prefect ends itself after some minutes without its server, and the operating system may kill any process
that takes too much memory. Without this, nothing would run until a person looks.

The program ends with this process (`child.py`). It is not started again if it ends by itself (exit code 0), if it is
told to stop, or if it has never run for `PROVEN_SECONDS`: then something is wrong with how it was started, and whoever
started it must see that. With --log, the file that the output is appended to is begun anew when it has become larger
than so many bytes; what it held is kept as FILE.1. With --left, a module is run when a file of FOLDER has no lock any
more, because the process that made it was killed. With --once, as in a container, it is never started again, and a
signal is passed on at once. With REVIEWLM_LOG_FORMAT=json, each line that is no JSON object yet becomes one: programs
and libraries also print, and Python writes its tracebacks as text. Only the standard library is imported: this process
stays for months.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO

PROVEN_SECONDS = 150.0
"""Longer than the wait for a server to be healthy (`core/services/launch.py`)."""
SHORTEST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds until the next start; twice as long after each program that ran for less than the longest pause."""
LOOK_SECONDS = 10.0
"""Seconds between two looks at the size of the log."""
LEFT_SECONDS, LONGEST_LEFT_SECONDS = 15.0, 60.0
"""Seconds between two looks at the files; twice as long after each run of the module that could not remove them."""
YOUNG_SECONDS = 5.0
"""A file that is younger may not be locked yet."""
FORMAT_VARIABLE = "REVIEWLM_LOG_FORMAT"
LEVELS = ("info", "warning")
"""Level of what a program prints on standard output and on standard error."""
RELAY = "relay"
LAST_SECONDS = 1.0
"""Seconds to wait for the last lines of a program that has ended; a process that it left may hold the pipe."""
OWN_SECONDS = 12.0
"""Seconds until a signal is passed on: who stops services tells the whole family, and a second signal means "now"."""


def keep_running(program: list[str], logger: str = "", once: bool = False) -> int:
    """Run the program until it need not be started again, and return its exit code.

    Args:
        program: Words after `python`.
        logger: Its name in the JSON lines that its output becomes; "": the output stays as it is.
        once: Never start it again. Then only this process is told to stop, so it passes that on at once.
    """
    signals, running = list[int](), list[subprocess.Popen[bytes]]()

    def pass_on(number: int) -> None:
        for child in running:
            child.send_signal(number)

    def stop(number: int, _: FrameType | None) -> None:
        signals.append(number)
        timer = threading.Timer(0.0 if once else OWN_SECONDS, pass_on, (number,))
        timer.daemon = True
        timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    command = _command(program)
    proven, pause = False, SHORTEST_PAUSE
    while True:
        began = time.monotonic()
        running[:] = [process := _started(command, logger)]
        code = process.wait()
        ran = time.monotonic() - began
        proven |= ran >= PROVEN_SECONDS
        if once or signals or not proven or code in (0, -signal.SIGTERM, -signal.SIGINT):
            return code if code >= 0 else 128 - code
        pause = SHORTEST_PAUSE if ran > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
        how = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
        message = f"{' '.join(program)} {how}; restart in {pause:g} s"
        if logger:
            _write(_as_json(message, LEVELS[1], "keep_running"))
        else:
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}", file=sys.stderr, flush=True)
        until = time.monotonic() + pause
        while time.monotonic() < until:
            time.sleep(0.1)
            if signals:
                return 0


def _command(program: list[str]) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("child.py")), *program]


def _started(command: list[str], logger: str) -> subprocess.Popen[bytes]:
    """Start a command whose output goes where that of this process goes, as JSON lines if a logger is named."""
    if not logger:
        return subprocess.Popen(command, stdin=subprocess.PIPE)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    for stream, level in zip((process.stdout, process.stderr), LEVELS, strict=True):
        thread = threading.Thread(target=_relay, args=(stream, level, logger), name=RELAY, daemon=True)
        thread.start()
    return process


def _relay(stream: IO[bytes], level: str, logger: str) -> None:
    """Write each line of a stream as a JSON line, until it ends; for a thread of its own."""
    for line in stream:
        if text := line.decode("utf-8", "replace").rstrip():
            _write(text if _is_message(text) else _as_json(text, level, logger))


def _is_message(line: str) -> bool:
    """Return whether a line is one of `reviewlm/terminal.py`."""
    try:
        return line.startswith("{") and "message" in json.loads(line)
    except (ValueError, RecursionError):
        return False


def _as_json(text: str, level: str, logger: str) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "level": level, "logger": logger, "message": text})


def _write(line: str) -> None:
    """Write a line to standard error; if the disk is full it is lost, since the program must not wait for its pipe."""
    with suppress(OSError):
        os.write(2, line.encode() + b"\n")


def end_left(folder: Path, module: str, logger: str = "") -> None:
    """Run a module when a killed process has left a file in a folder; for a thread of its own."""
    pause = LEFT_SECONDS
    while True:
        time.sleep(pause)
        if not _has_left(folder):
            continue
        with suppress(OSError):
            _started(_command(["-m", module]), logger).wait()
        pause = min(2 * pause, LONGEST_LEFT_SECONDS) if _has_left(folder) else LEFT_SECONDS


def _has_left(folder: Path) -> bool:
    """Return whether a file of a folder has no lock, so that the process that made it is gone."""
    for file in folder.glob("*"):
        with suppress(OSError):  # removed just now, or locked
            if time.time() - file.stat().st_mtime < YOUNG_SECONDS:
                continue
            with file.open("rb+") as opened:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
    return False


def keep_small(log: Path, most: int) -> None:
    """Begin a log anew whenever it is larger than *most* bytes; for a thread of its own.

    The program and this process have the file open. They append, so after it was cut they write at its beginning.
    """
    while True:
        time.sleep(LOOK_SECONDS)
        with suppress(OSError):
            if log.stat().st_size > most:
                _cut(log, most)


def _cut(log: Path, most: int) -> None:
    old, part = (log.with_name(f"{log.name}.{ending}") for ending in ("1", "part"))
    try:
        with log.open("rb") as source, part.open("wb") as copy:
            while block := source.read(1 << 20):  # also what is written meanwhile
                copy.write(block)
        part.replace(old)
    except OSError:  # a full disk: the log must not fill it further, so at twice its size it goes without a copy
        part.unlink(missing_ok=True)
        if log.stat().st_size <= 2 * most:
            raise
    os.truncate(log, 0)


def main(arguments: list[str]) -> int:
    """Keep a program running, and its log small; return the program's exit code."""
    logger, once = "", arguments[:1] == ["--once"]
    if once:
        logger, arguments = arguments[1], arguments[2:]
    if arguments[:1] == ["--log"]:
        log, most = Path(arguments[1]), int(arguments[2])
        logger = log.stem
        threading.Thread(target=keep_small, args=(log, most), daemon=True).start()
        arguments = arguments[3:]
    if os.environ.get(FORMAT_VARIABLE) != "json":
        logger = ""
    if arguments[:1] == ["--left"]:
        folder, module = Path(arguments[1]), arguments[2]
        threading.Thread(target=end_left, args=(folder, module, logger), daemon=True).start()
        arguments = arguments[3:]
    code = keep_running(arguments, logger, once)
    for thread in threading.enumerate():
        if thread.name == RELAY:
            thread.join(LAST_SECONDS)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
