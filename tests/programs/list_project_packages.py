"""Print which packages of the project can be found."""

from __future__ import annotations

import importlib.util

NAMES = ("models", "tracking", "reviewlm", "prefect")
print([name for name in NAMES if importlib.util.find_spec(name)])
