"""Let a fork server fork a process that sleeps, print the numbers of both, and sleep."""

from __future__ import annotations

import os
import socket
import time
from multiprocessing.connection import Connection

from reviewlm.core.processes.fork_server import ForkOrder, ForkServer

ours, theirs = socket.socketpair()
order = ForkOrder("tests.core.processes.served_works:wait", "child")
forking = ForkServer({**os.environ})
child = forking.fork(order, theirs.fileno(), 2)
theirs.close()
process, server, _ = Connection(ours.detach()).recv()
print(process, server, flush=True)
time.sleep(600)
