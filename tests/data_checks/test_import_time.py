"""What the import of Great Expectations leaves out, and that it is there when somebody needs it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from reviewlm.data_checks.gx import great_expectations
great_expectations()
print([name for name in sys.modules if name.startswith("scipy.stats.")])
from scipy import stats
import scipy.stats
print(stats is scipy.stats, stats.norm.cdf(0.0), stats.entropy([0.5, 0.5], base=2))
"""


def test_statistics_are_imported_when_something_in_them_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.splitlines() == ["[]", "True 0.5 1.0"]
