"""Hold the place of the one retrain, some times, some seconds each: HOME SECONDS TIMES; `home`: ask no server.

Say "holds", then "held" with the times at which it began and ended. The log goes to standard output.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from pathlib import Path

from reviewlm.tasks.execution import limits


def main(
    home: Path,
    seconds: float,
    times: int,
) -> None:
    logging.basicConfig(
        level="INFO",
        stream=sys.stdout,
        format="%(message)s",
        force=True,
    )
    for _ in range(times):
        with limits.one_retrain(home):
            begun = time.time()
            print("holds", flush=True)
            time.sleep(seconds)
            print("held", begun, time.time(), flush=True)


if __name__ == "__main__":
    if sys.argv[4:] == ["home"]:  # the lock of the home alone
        limits.slot = lambda *_: contextlib.nullcontext()  # type: ignore[assignment]
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
