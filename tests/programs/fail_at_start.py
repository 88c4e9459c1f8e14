"""Fail as a server does: CODE MESSAGE … SOCKET, with a long traceback before each message."""

from __future__ import annotations

import sys

for message in sys.argv[2:-1]:
    print("  File x\n" * 700, message, file=sys.stderr)
sys.exit(int(sys.argv[1]))
