"""Make a run of the deployment `retrain/demo` with a preset."""

from __future__ import annotations

import sys

from prefect.deployments import run_deployment

run_deployment("retrain/demo", parameters={"preset": sys.argv[1]}, timeout=0)
