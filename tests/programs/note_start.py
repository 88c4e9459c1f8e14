"""Note the number of this process in the file `starts` of a folder, then sleep until a signal ends it: FOLDER.

When the file `ready` is there, SIGTERM ends it with exit code 3.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def stop(*_: object) -> None:
    raise SystemExit(3)


folder = Path(sys.argv[1])
with (folder / "starts").open("a") as file:
    print(os.getpid(), file=file, flush=True)
signal.signal(signal.SIGTERM, stop)
(folder / "ready").touch()
time.sleep(60)
