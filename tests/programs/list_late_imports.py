"""Load the libraries of the fork server, compute with them, and print what should not or only now be imported.

Two lines: frameworks of a run that were imported; modules of numba and scipy that came with the first computation.
"""

from __future__ import annotations

import sys

from reviewlm.tasks.evaluation.model_work import load_libraries

load_libraries()
print(sorted({"prefect", "mlflow", "great_expectations"} & sys.modules.keys()))
before = set(sys.modules)

import numpy as np  # noqa: E402, F401
import torch  # noqa: E402
from scipy.stats import ks_2samp  # noqa: E402, F401

from reviewlm.models.log_sums import log_sum_of  # noqa: E402
from reviewlm.models.sampling.draw_kernels import draw  # noqa: E402, F401

log_sum_of([torch.zeros(2, 3)] * 2, torch.zeros(2, 2))
late = set(sys.modules) - before
print(sorted(name for name in late if name.startswith(("numba", "scipy"))))
