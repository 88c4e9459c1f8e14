"""Works for processes that a fork server forks: they tell who they are, end with a code, or wait."""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.connection import Connection


def tell(connection: Connection) -> None:
    """Send the numbers of the process and of its parent, and a variable."""
    connection.send((os.getpid(), os.getppid(), os.environ.get("TOLD")))


def end_with_seven(connection: Connection) -> None:
    sys.exit(7)


def wait(connection: Connection) -> None:
    """Tell who it is, and wait ten minutes."""
    tell(connection)
    time.sleep(600)


def tell_modules(connection: Connection) -> None:
    """Send whether a module was imported before the fork, and the process that has called `note`."""
    connection.send(("fractions" in sys.modules, NOTED))


NOTED: list[int] = []


def note() -> None:
    NOTED.append(os.getpid())
