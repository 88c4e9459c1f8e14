"""Import what a node of a cluster runs, and print which frameworks that has imported."""

from __future__ import annotations

import sys

import reviewlm.tasks.fitting.on_cluster  # noqa: F401

print(sorted({"prefect", "mlflow", "ray"} & set(sys.modules)))
