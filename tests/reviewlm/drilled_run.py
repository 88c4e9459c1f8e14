"""The command line, halting where a drill wants it: `drilled_run.py STAGE HOLD MARK ARGUMENTS...`.

When the stage STAGE (a beginning of its name) begins, the file MARK appears; with HOLD "hold" the stage then lasts for
minutes, with "go" it goes on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reviewlm.core.processes import interrupts

real = interrupts.during


@contextmanager
def during(what: str) -> Iterator[None]:
    with real(what):
        if what.startswith(STAGE):
            Path(MARK).write_text(what)
            if HOLD == "hold":
                time.sleep(600)
        yield


if __name__ == "__main__":
    STAGE, HOLD, MARK = sys.argv[1:4]
    sys.argv = ["reviewlm", *sys.argv[4:]]
    interrupts.during = during  # before anything else has it

    from reviewlm.cli import main

    main()
