"""Interrupt a job in the background of a script, where a shell ignores SIGINT; `hears`: it asked to hear interrupts."""

from __future__ import annotations

import os
import signal
import sys
import time

from reviewlm.core.processes import interrupts

signal.signal(signal.SIGINT, signal.SIG_IGN)
with interrupts.watch_signals():
    if sys.argv[1] == "hears":
        interrupts.hear_interrupt()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.5)
