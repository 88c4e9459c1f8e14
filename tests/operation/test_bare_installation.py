"""The installation without extras: the pipeline's modules import no optional package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from reviewlm.core.provenance import PACKAGE

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
CODE = f"""
import sys
sys.modules |= dict.fromkeys({OPTIONAL!r})
import reviewlm.cli, reviewlm.flows.retrain, reviewlm.flows.other_models, reviewlm.flows.sweep
import reviewlm.serving.api.app
import reviewlm.core.config.presets, reviewlm.tasks.execution.cluster, reviewlm.tracking.registry.registry
"""


@pytest.mark.slow
def test_nothing_optional_is_imported_before_it_is_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
