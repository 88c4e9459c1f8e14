"""Run all checks of `reviewlm doctor` side by side; a check that fails or takes too long becomes a line of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from core.errors import ReviewLMError, without_password
from reviewlm.doctor.home import check_access, check_secrets, check_upgrade, check_writes
from reviewlm.doctor.machine import HealthLine, check_disks, check_gpu, check_memory, check_packages
from reviewlm.doctor.servers import check_champions, check_named_server, check_servers, check_tracking

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

Check = Callable[["RunConfig"], Iterator[HealthLine]]
CHECKS: Mapping[str, Check] = {
    "packages": check_packages, "memory": check_memory, "disk": check_disks, "GPU": check_gpu,
    "home": check_access, "secrets": check_secrets, "upgrade": check_upgrade, "tracking": check_tracking,
    "champion": check_champions, "writes to MLflow": check_writes,
    "servers": check_servers, "PREFECT_API_URL": check_named_server,
}
"""All checks, in the order in which they are shown."""
SECONDS = 10.0
"""Time for all checks. A folder of a network disk that is gone can make a check wait for minutes."""


def examine(config: RunConfig, checks: Mapping[str, Check] = CHECKS, seconds: float = SECONDS) -> list[HealthLine]:
    """Return the results of all checks; a check that does not end in time is a problem."""
    results: dict[str, list[HealthLine]] = {}
    threads = {
        name: threading.Thread(target=lambda n=name, c=check: results.update({n: _lines(n, c, config)}), daemon=True)
        for name, check in checks.items()
    }
    for thread in threads.values():
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads.values():
        thread.join(max(0.0, until - time.monotonic()))
    late = "look at the disk or the server that it asks; other commands may hang there, too"
    return [
        line for name in checks
        for line in results.get(name, [HealthLine(name, "problem", f"no result within {seconds:g} seconds", late)])
    ]


def _lines(name: str, check: Check, config: RunConfig) -> list[HealthLine]:
    """Return the results of a check; an error of the check itself is a problem with its message."""
    lines: list[HealthLine] = []
    try:
        lines.extend(check(config))
    except ReviewLMError as error:
        where = f" ({without_password(error.where)})" if error.where else ""
        cause = f": {without_password(error.cause)}" if error.cause else ""
        lines.append(HealthLine(name, "problem", f"{error.what}{cause}{where}", error.remedy))
    except Exception as error:
        message = without_password(str(error)) or "no message"
        lines.append(HealthLine(name, "problem", f"the check failed: {type(error).__name__}: {message}",
                                "correct what the message names, then run `reviewlm doctor` again"))
    return lines
