"""Run `reviewlm --version`, and interrupt it when it imports a module: MODULE."""

from __future__ import annotations

import os
import signal
import sys

from reviewlm.__main__ import main

MODULE = sys.argv[1]


class Interrupting:
    """Finder that finds nothing, and interrupts the process when the module is looked for."""

    def find_spec(self, name: str, *further: object) -> None:
        if name == MODULE:
            os.kill(os.getpid(), signal.SIGINT)


sys.meta_path.insert(0, Interrupting())  # type: ignore[arg-type]
sys.argv = ["reviewlm", "--version"]
main()
