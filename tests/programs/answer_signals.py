"""Get a signal at an awkward moment: MOMENT RESUMABLE [ARGUMENT], with `resumable` or `plain`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from reviewlm.core.processes import interrupts
from reviewlm.models.atomic_files import new_file


def while_it_notes_its_work(argument: str) -> None:
    with interrupts._process.lock:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
    time.sleep(60)


def while_it_serves(number: str) -> None:
    told = threading.Event()
    with interrupts.drain_on_signal(told.set, 20):
        os.kill(os.getpid(), int(number))
        assert told.wait(5)
        time.sleep(3.5)  # longer than any other command gets
    open("/dev/stderr", "w").close()


def while_it_waits(argument: str) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def while_it_writes_a_file(path: str) -> None:
    with new_file(Path(path)):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        time.sleep(60)


MOMENTS: dict[str, Callable[[str], None]] = {
    "notes": while_it_notes_its_work,
    "serves": while_it_serves,
    "waits": while_it_waits,
    "writes": while_it_writes_a_file,
}


def main(
    moment: str,
    resumable: bool,
    argument: str = "",
) -> None:
    again: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if resumable:
        again = interrupts.resumable("again")
    with interrupts.watch_signals(), again:
        MOMENTS[moment](argument)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "resumable", *sys.argv[3:])
