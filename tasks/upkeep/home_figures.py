"""Measure a home folder and this machine's GPUs: bytes by folder, seconds of the newest builds, memory of the GPUs.

It takes seconds for a large home, so it is done in a thread of its own (`HomeFigures`).
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.environment import visible_gpus
from core.lineage.record import FITS
from core.manifest import MANIFEST, read_manifest, seconds_of
from core.storing.publishing import newest_first

STORE, FILES = "store", "files"
"""Folder of the results; name for the files that lie directly in the home."""
BUILDS, DAY = 50, 86_400.0
"""Newest results of a stage that are looked at; of these, those of the day that ends with the newest one."""
FRESH_SECONDS, SHARE = 60.0, 20.0
"""Age at which figures are measured again, at least so many times the seconds that it took."""
PATIENCE = 2.0
"""Seconds that a reader waits for new figures before it gets the old ones."""
GPU_QUERY = ("nvidia-smi", "--query-gpu=index,memory.total,memory.used", "--format=csv,noheader,nounits")
GPU_SECONDS, MEBIBYTE = 10.0, 2**20
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MeasuredHome:
    """Figures of a home and of the machine's GPUs.

    Args:
        bytes: Size of each folder of the home, by its name.
        seconds: Longest build of each stage on its last day, by stage and, of a fit, the model.
        gpus: Bytes of memory, and those in use, of each GPU.
    """

    bytes: dict[str, int] = field(default_factory=dict)
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    gpus: dict[str, tuple[float, float]] = field(default_factory=dict)


def measure(home: Path) -> MeasuredHome:
    """Return the figures as they are now."""
    return MeasuredHome(folder_bytes(home), build_seconds(home / STORE), gpu_memory())


def folder_bytes(home: Path) -> dict[str, int]:
    """Return the bytes of each folder of a home; a file with several names counts once, where it is met first."""
    seen, found = set[tuple[int, int]](), {FILES: 0}
    with suppress(OSError):
        for entry in sorted(os.scandir(home), key=lambda one: one.name):
            if entry.is_dir(follow_symlinks=False):
                found[entry.name] = _bytes_below(entry.path, seen)
            else:
                found[FILES] += _bytes_of(entry, seen)
    return found


def _bytes_below(folder: str, seen: set[tuple[int, int]]) -> int:
    total, waiting = 0, [folder]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:  # removed just now
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    total += _bytes_of(entry, seen)
    return total


def _bytes_of(entry: os.DirEntry[str], seen: set[tuple[int, int]]) -> int:
    with suppress(OSError):
        about = entry.stat(follow_symlinks=False)
        inode = (about.st_dev, about.st_ino)
        if inode not in seen:
            if about.st_nlink > 1:
                seen.add(inode)
            return about.st_size
    return 0


def build_seconds(store: Path) -> dict[tuple[str, str], float]:
    """Return the seconds of each stage's longest build on the day of its newest one, by stage and, of a fit, model."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for folder in sorted(store.glob("[!.]*")):
        for result in newest_first(folder)[:BUILDS]:
            with suppress(OSError, ValueError, KeyError, TypeError):  # damaged, or removed just now
                manifest = read_manifest(result / MANIFEST)
                model = str(manifest["facts"].get("name", "")) if folder.name in FITS else ""
                if (took := seconds_of(manifest)) is not None:
                    found.setdefault((folder.name, model), []).append((float(manifest["created"]), took))
    longest = {}
    for key, builds in found.items():
        newest = max(when for when, _ in builds)
        longest[key] = max(seconds for when, seconds in builds if when > newest - DAY)
    return longest


def gpu_memory() -> dict[str, tuple[float, float]]:
    """Return bytes of memory, and those in use, of each GPU by its index; nothing without one, or without an answer."""
    if not visible_gpus():
        return {}
    found = {}
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(GPU_QUERY, capture_output=True, text=True, timeout=GPU_SECONDS, check=True).stdout
        for line in said.splitlines():
            with suppress(ValueError):  # "[N/A]", as of a GPU in parts
                index, total, used = (part.strip() for part in line.split(","))
                found[index] = (float(total) * MEBIBYTE, float(used) * MEBIBYTE)
    return found


class HomeFigures:
    """The figures that were measured last, measured again in a thread when they are old.

    Args:
        home: Home folder.
        measure: Measures it.
    """

    def __init__(self, home: Path, measure: Callable[[Path], MeasuredHome] = measure) -> None:
        self._home, self._measure = home, measure
        self._last, self._next = MeasuredHome(), 0.0
        self._thread, self._starting = threading.Thread(), threading.Lock()

    def latest(self) -> MeasuredHome:
        """Return the newest figures; wait a moment for those that are being measured. None are there at first."""
        with self._starting:
            if not self._thread.is_alive() and time.monotonic() >= self._next:
                self._thread = threading.Thread(target=self._look, name="home figures", daemon=True)
                self._thread.start()
        self._thread.join(PATIENCE)
        return self._last

    def _look(self) -> None:
        began = time.monotonic()
        try:
            self._last = self._measure(self._home)
        except Exception as error:  # other figures are there all the same
            log.warning("the home folder could not be measured: %s", error)
        took = time.monotonic() - began
        self._next = time.monotonic() + max(FRESH_SECONDS, SHARE * took)
