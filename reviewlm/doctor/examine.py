"""Run all checks of `reviewlm doctor` side by side; a check that fails or takes too long becomes a line of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from core.errors import ReviewLMError, without_password
from reviewlm.doctor.health_line import HealthLine
from reviewlm.doctor.home import (
    check_access,
    check_interrupted,
    check_queue,
    check_remote_store,
    check_results,
    check_secrets,
    check_upgrade,
)
from reviewlm.doctor.machine import (
    check_disks,
    check_gpu,
    check_memory,
    check_packages,
    check_python,
)
from reviewlm.doctor.named_prefect import check_named_server
from reviewlm.doctor.servers import check_champions, check_ports, check_servers, check_tracking

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

Check = Callable[["RunConfig"], Iterator[HealthLine]]
CHECKS: Mapping[str, Check] = {
    "Python": check_python, "packages": check_packages, "memory": check_memory, "disk": check_disks,
    "GPU": check_gpu, "home": check_access, "secrets": check_secrets,
    "upgrade": check_upgrade, "tracking": check_tracking, "champion": check_champions,
    "queued writes": check_queue, "interrupted runs": check_interrupted,
    "stored results": check_results, "remote store": check_remote_store, "servers": check_servers,
    "PREFECT_API_URL": check_named_server, "ports": check_ports,
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
        lines.append(HealthLine(name, "problem", f"{error.what}{where}", error.remedy))
    except Exception as error:
        message = without_password(str(error)) or "no message"
        lines.append(HealthLine(name, "problem", f"the check failed: {type(error).__name__}: {message}",
                                "correct what the message names, then run `reviewlm doctor` again"))
    return lines
