"""Keep a program running, with short pauses; the first argument: seconds after which its start counts as proven."""

from __future__ import annotations

import sys

from reviewlm.core.processes import keep_running

keep_running.PROVEN_SECONDS = float(sys.argv[1])
keep_running.OWN_SECONDS = 1
keep_running.SHORTEST_PAUSE = 0.05
keep_running.LONGEST_PAUSE = 0.2
sys.exit(keep_running.keep_running(sys.argv[2:]))
