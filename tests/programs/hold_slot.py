"""Hold a slot of a limit of a Prefect server, some times, some seconds each: NAME SECONDS TIMES.

Say "held", then "released" with the times of both. A signal ends the program as it ends a command.
"""

from __future__ import annotations

import sys
import time

from reviewlm.core.processes import interrupts
from reviewlm.tasks.execution.limits import slot


def main(
    name: str,
    seconds: float,
    times: int,
) -> None:
    with interrupts.watch_signals(), interrupts.resumable("run it again"):
        for _ in range(times):
            with slot(name):
                begun = time.time()
                print("held", flush=True)
                time.sleep(seconds)
                print("released", begun, time.time(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
