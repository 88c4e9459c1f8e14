"""Import modules by name, from the working folder."""

from __future__ import annotations

import importlib
import sys

sys.path.insert(0, ".")
for name in sys.argv[1:]:
    importlib.import_module(name)
