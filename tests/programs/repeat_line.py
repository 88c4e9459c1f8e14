"""Print the line that stands in the standard input, or "nothing"."""

from __future__ import annotations

import sys

print(sys.stdin.readline().strip() or "nothing", flush=True)
