"""Import a module, and print which of the other given ones that has imported: MODULE NAME …."""

from __future__ import annotations

import importlib
import sys

importlib.import_module(sys.argv[1])
print([name for name in sys.argv[2:] if name in sys.modules])
