"""Restart a Python program with back-off when it fails: `python keep_running.py [-m MODULE | FILE] ARGUMENTS`.

A worker of Prefect ends itself after some minutes without its server, and the operating system may kill any process
that takes too much memory. Without this, nothing would run until a person looks.

The program ends with this process (`child.py`). It is not started again if it ends by itself (exit code 0), if it is
told to stop, or if it has never run for `PROVEN_SECONDS`: then something is wrong with how it was started, and whoever
started it must see that. Only the standard library is imported: this process stays for months.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PROVEN_SECONDS = 150.0
"""A server that fails after a slower start is started again; who waits for it sees that its first program has ended
(`core/services/launch.py`)."""
SHORTEST_PAUSE = 5.0
LONGEST_PAUSE = 60.0
"""Seconds until the next start; twice as long after each program that ran for less than the longest pause."""
OWN_SECONDS = 12
"""Seconds that a program gets to end by itself: who stops services tells the whole family."""


def keep_running(program: list[str]) -> int:
    """Run the program until it need not be started again, and return its exit code.

    Args:
        program: Words after `python`.
    """
    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()
        signal.alarm(OWN_SECONDS)  # ends this process, and the program with it

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)

    proven = False
    pause = SHORTEST_PAUSE
    while True:
        began = time.monotonic()
        command = [sys.executable, str(Path(__file__).with_name("child.py")), *program]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            code = process.wait()
        ran = time.monotonic() - began
        proven |= ran >= PROVEN_SECONDS
        if stopped.is_set() or not proven or code in (0, -signal.SIGTERM, -signal.SIGINT):
            return code if code >= 0 else 128 - code
        if ran > LONGEST_PAUSE:
            pause = SHORTEST_PAUSE
        else:
            pause = min(2 * pause, LONGEST_PAUSE)

        how = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        print(
            f"{now} {' '.join(program)} {how}; restart in {pause:g} s", file=sys.stderr, flush=True
        )
        if stopped.wait(pause):
            return 0


if __name__ == "__main__":
    sys.exit(keep_running(sys.argv[1:]))
