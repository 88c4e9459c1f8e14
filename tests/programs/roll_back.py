"""Roll back on the command line, and say whether that has imported Prefect."""

from __future__ import annotations

import sys

from reviewlm import cli

sys.argv = ["reviewlm", "rollback", "--why", "complaints", "--json"]
cli.main()
sys.stderr.write(f"prefect imported: {'prefect' in sys.modules}")
