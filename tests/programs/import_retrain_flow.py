"""Import the flow of a run, and print which libraries that compute or draw this has imported."""

from __future__ import annotations

import sys

import reviewlm.flows.retrain  # noqa: F401

HEAVY = ("torch", "scipy", "numba", "sklearn", "great_expectations", "matplotlib")
print(*[name for name in HEAVY if name in sys.modules])
