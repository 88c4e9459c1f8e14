"""Make a temporary folder in a process and in its child, then end or be killed: `ended` or `killed`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from reviewlm.core.processes.leftovers import own_temporary_folder


def main(how: str) -> None:
    with own_temporary_folder():
        Path(tempfile.mkdtemp(), "large").write_text("x" * 1000)
        child = [sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp(), flush=True)"]
        subprocess.run(child, check=True)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
