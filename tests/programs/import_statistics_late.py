"""Import Great Expectations, and print which modules of statistics this has imported, then what they compute."""

from __future__ import annotations

import sys

from reviewlm.data_checks.gx import great_expectations

great_expectations()
print([name for name in sys.modules if name.startswith("scipy.stats.")])

import scipy.stats  # noqa: E402
from scipy import stats  # noqa: E402

print(stats is scipy.stats, stats.norm.cdf(0.0), stats.entropy([0.5, 0.5], base=2))
