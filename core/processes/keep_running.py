"""Restart a Python program with back-off when it fails, and rotate its log.

    python keep_running.py --log FILE BYTES [-m MODULE | FILE] ARGUMENTS

A worker of Prefect ends itself after some minutes without its server, and the operating system may kill any process
that takes too much memory. Without this, nothing would run until a person looks.

The program ends with this process (`child.py`). It is not started again if it ends by itself (exit code 0), if it is
told to stop, or if it has never run for `PROVEN_SECONDS`: then something is wrong with how it was started, and whoever
started it must see that. The file that the output is appended to is begun anew when it has become larger than so many
bytes; what it held is kept as FILE.1. Only the standard library is imported: this process stays for months.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

PROVEN_SECONDS = 150.0
"""Longer than the wait for a server to be healthy (`core/services/launch.py`)."""
SHORTEST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds until the next start; twice as long after each program that ran for less than the longest pause."""
LOOK_SECONDS = 10.0
"""Seconds between two looks at the size of the log."""
OWN_SECONDS = 12.0
"""Seconds until a signal is passed on: who stops services tells the whole family, and a second signal means "now"."""


def keep_running(program: list[str]) -> int:
    """Run the program until it need not be started again, and return its exit code.

    Args:
        program: Words after `python`.
    """
    signals, running = list[int](), list[subprocess.Popen[bytes]]()

    def pass_on(number: int) -> None:
        for child in running:
            child.send_signal(number)

    def stop(number: int, _: FrameType | None) -> None:
        signals.append(number)
        timer = threading.Timer(OWN_SECONDS, pass_on, (number,))
        timer.daemon = True
        timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    command = [sys.executable, str(Path(__file__).with_name("child.py")), *program]
    proven, pause = False, SHORTEST_PAUSE
    while True:
        began = time.monotonic()
        running[:] = [process := subprocess.Popen(command, stdin=subprocess.PIPE)]
        code = process.wait()
        ran = time.monotonic() - began
        proven |= ran >= PROVEN_SECONDS
        if signals or not proven or code in (0, -signal.SIGTERM, -signal.SIGINT):
            return code if code >= 0 else 128 - code
        pause = SHORTEST_PAUSE if ran > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
        how = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        print(f"{now} {' '.join(program)} {how}; restart in {pause:g} s", file=sys.stderr, flush=True)
        until = time.monotonic() + pause
        while time.monotonic() < until:
            time.sleep(0.1)
            if signals:
                return 0


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
    log, most = Path(arguments[1]), int(arguments[2])
    threading.Thread(target=keep_small, args=(log, most), daemon=True).start()
    return keep_running(arguments[3:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
