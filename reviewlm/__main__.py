"""Start the command line. The imports take half a second, in which Ctrl-C would end in a traceback."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

INTERRUPTED = b"Interrupted\n"


def main() -> None:
    """Run a command; until it watches signals itself (`core/processes/interrupts.py`), Ctrl-C ends it with one line."""
    if (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # neither ignored nor somebody else's
        signal.signal(signal.SIGINT, _end)
    from reviewlm.cli import main as run

    run()


def _end(*_: Any) -> None:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, INTERRUPTED)
    os._exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
