"""Start a program as a child (its path; with a second argument: in a group of its own), pass on a line of it, and wait.

Signals that the tests may ignore (under nohup, say) are heard: what the tests start would ignore them too.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from reviewlm.core.processes.children import start_child


def main(program: str, group: bool) -> None:
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)

    child = start_child([program], group=group, stdout=subprocess.PIPE)
    assert child.stdout is not None
    print(child.stdout.readline().decode(), flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "group")
