"""Print "ready", and sleep."""

from __future__ import annotations

import time

print("ready", flush=True)
time.sleep(600)
