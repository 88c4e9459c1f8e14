"""Which process wrote something, and whether that process is gone."""

from __future__ import annotations

import os
import socket

import psutil

CLOCK_STEP = 2.0
"""Seconds by which two answers about the beginning of one process may differ."""


def this_process() -> str:
    """Return the name of this process: machine, number, seconds since 1970 at its start."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.0f}"


def is_gone(process: str) -> bool:
    """Return whether a process of this machine has ended; False of one elsewhere, which nobody here can know."""
    try:
        host, pid, began = process.rsplit(" ", 2)
        number, start = int(pid), float(began)
    except ValueError:
        return False
    if host != socket.gethostname():
        return False
    try:
        return abs(psutil.Process(number).create_time() - start) > CLOCK_STEP
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
