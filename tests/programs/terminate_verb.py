"""Terminate a command at its work, which can be resumed or cannot: `resumable` or `lost`, arguments of the command."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from reviewlm.boundary import run_verb
from reviewlm.core.processes import interrupts


def verb() -> None:
    resumable = sys.argv[1] == "resumable"
    with interrupts.resumable("again") if resumable else contextlib.nullcontext():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)


with interrupts.watch_signals():
    run_verb(verb, sys.argv[2:])
