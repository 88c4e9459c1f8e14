"""Name a process uniquely, and check whether it has ended."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import psutil

PROC = Path("/proc")


def this_machine() -> str:
    """Return the name of this machine, as process numbers mean one thing in it: host, namespace of processes, boot.

    Two containers may share a host's name and not its processes; the namespace tells them apart.
    """
    namespace = boot = "-"
    with suppress(OSError):
        namespace = os.readlink(PROC / "self/ns/pid").strip("pid:[]")
    with suppress(OSError):
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{socket.gethostname()} {namespace} {boot}"


def this_process() -> str:
    """Return the name of this process: machine, number, start."""
    return process_name(os.getpid())


def process_name(pid: int) -> str:
    """Return the name of a running process of this machine: machine, number, start.

    Raises:
        psutil.NoSuchProcess: There is none.
    """
    return f"{this_machine()} {pid} {_start(pid)}"


def is_gone(process: str) -> bool:
    """Return whether a process of this machine has ended; False for a process of another machine, which is unknown."""
    try:
        host, namespace, boot, pid, start = process.split(" ")
        number = int(pid)
    except ValueError:
        return False
    here, ours, this_boot = this_machine().split(" ")
    if (host, namespace) != (here, ours):
        return False
    if boot != this_boot:
        return True
    try:
        return _start(number) != start
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def is_elsewhere(process: str) -> bool:
    """Return whether a process is one of another machine or container, where its number means nothing."""
    return process.split(" ")[:2] != this_machine().split(" ")[:2]


def _start(pid: int) -> str:
    """Return when a process began, by a clock that nobody sets: ticks since boot.

    Raises:
        psutil.NoSuchProcess: There is none.
    """
    if not (PROC / "self/stat").exists():
        return f"{psutil.Process(pid).create_time():.0f}"
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    return stat.rpartition(")")[2].split()[19]
