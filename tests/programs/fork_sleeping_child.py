"""Fork a child that sleeps, print its number, and sleep."""

from __future__ import annotations

import time

from reviewlm.core.processes.forks import fork_child

child = fork_child(
    lambda: time.sleep(600),
    "child",
    {},
    [],
    2,
)
print(child.pid, flush=True)
time.sleep(600)
