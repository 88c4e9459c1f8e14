"""Tell the memory of this process, and return to the system what it has freed."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path


def return_freed() -> None:
    """Return all freed memory to the system now, where the system can: gaps between pieces in use fit few later ones.

    This releases the pool of Arrow (if it is loaded) and the heap of the C library (if it is glibc).
    """
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def resident() -> int:
    """Return the current memory of this process in bytes; if the system does not tell it, the peak memory."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return peak_resident()


def peak_resident() -> int:
    """Return the peak memory of this process so far, in bytes.

    On Linux this is VmHWM: unlike `ru_maxrss` it does not include the process that started this one. On other systems
    it is `ru_maxrss`.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) << 10
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
