"""Works for processes of tests: one that fails like a stage, one that is killed, one that tells where it runs."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reviewlm.core.errors import InputError
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.tasks.evaluation.model_work import ModelWork, Report
from tests.core.waiting import until


def refuse(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    raise InputError("There is no such review", value=7, remedy="0 to 6")


def diverge(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    raise ModelError("the loss is not a number", "diverged")


def fill(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    raise OSError(errno.ENOSPC, "No space left on device")


def fall(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def fall_in_a_line(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    os.write(1, b"half a line")
    return fall(bundle, report, folder)


def err(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    raise AssertionError("a mistake of ours")


def wait(
    bundle: Bundle,
    report: Report,
    folder: Path,
    own: str,
) -> dict[str, Any]:
    """Write the numbers of the process and of its parent to a file, then report for a minute."""
    (folder / own).with_suffix(".new").write_text(f"{os.getpid()} {os.getppid()}", encoding="ascii")
    (folder / own).with_suffix(".new").rename(folder / own)
    for done in range(600):
        report(done)
        time.sleep(0.1)
    return {}


def tell_numpy(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    return np.lib.introspect.opt_func_info(func_name="^(exp|log)$")


KEPT: list[bytes] = []


def leave_gaps(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    """Free 200 MB between small pieces that stay, so that the C library has nothing to return by itself."""
    freed = []
    for _ in range(100):
        freed.append(bytes(range(200)) * 10_000)
        KEPT.append(bytes(range(200)) * 10)
    return {}


def tell_memory(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    """Return the private memory of the process in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return {"private": int(status.partition("RssAnon:")[2].split()[0]) << 10}


def whose(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    """Return the numbers of the process and of its parent."""
    return {"process": os.getpid(), "parent": os.getppid()}


def meet(
    bundle: Bundle,
    report: Report,
    folder: Path,
    own: str,
    other: str,
) -> dict[str, Any]:
    """Wait until the other work has begun, too; return the numbers of the process and of its parent."""
    (folder / own).touch()
    until((folder / other).exists, 60)
    return whose(bundle, report, folder)


def tell(
    bundle: Bundle,
    report: Report,
    folder: Path,
) -> dict[str, Any]:
    print("7", flush=True)  # not a message of ours
    for done in (1, 2):
        report(done)
    return {"process": os.getpid()}


def bare(function: Any, bundle: Path) -> ModelWork:
    return ModelWork(function, "kn", bundle, work=bundle)


def in_time(found: Callable[[], Any]) -> Any:
    """Return what is found within a minute: on a busy machine a fork server takes many seconds to import."""
    return until(found, 60, pause=0.02)
