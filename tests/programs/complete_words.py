"""Complete the words of a command line, which stand in the environment as a shell puts them there."""

from __future__ import annotations

import sys

from reviewlm.__main__ import main

sys.argv = ["reviewlm"]
main()
