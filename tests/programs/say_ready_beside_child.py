"""Start a program that sleeps, print "ready", and sleep."""

from __future__ import annotations

import subprocess
import time

subprocess.Popen(["sleep", "600"])
print("ready", flush=True)
time.sleep(600)
