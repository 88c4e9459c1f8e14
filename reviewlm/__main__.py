"""Start the command line. Further imports take half a second, in which Ctrl-C would end in a traceback."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # typing takes some of the milliseconds that are not watched
if TYPE_CHECKING:
    from typing import Any

INTERRUPTED = b"Interrupted\n"


def _end(*_: Any) -> None:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, INTERRUPTED)
    os._exit(128 + signal.SIGINT)


def _watch() -> None:
    """End with one line on Ctrl-C until the command watches signals itself (`core/processes/interrupts.py`)."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # ignored, or somebody else's
    try:
        signal.signal(signal.SIGINT, _end)
    except ValueError:  # imported by another thread than the main one: no command starts
        return


_watch()  # at once: whoever imports this module starts a command


def main() -> None:
    """Run a command."""
    from reviewlm.cli import main as run

    run()


if __name__ == "__main__":
    main()
