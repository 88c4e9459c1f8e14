"""Import the modules of the pipeline where no optional package can be imported."""

from __future__ import annotations

import importlib
import sys

OPTIONAL = (
    "boto3",
    "ray",
    "py3langid",
    "psycopg",
    "psycopg2",
    "triton",
    "moto",
    "openai",
    "hypothesis",
)
MODULES = (
    "reviewlm.cli",
    "reviewlm.flows.retrain",
    "reviewlm.flows.other_models",
    "reviewlm.flows.sweep",
    "reviewlm.serving.api.app",
    "reviewlm.core.config.presets",
    "reviewlm.tasks.execution.cluster",
    "reviewlm.tracking.registry.registry",
)

for name in OPTIONAL:
    sys.modules[name] = None  # type: ignore[assignment]  # so that an import of it fails
for name in MODULES:
    importlib.import_module(name)
