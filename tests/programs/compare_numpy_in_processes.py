"""Print the functions of numpy that a model process computes as the command does, for a bundle: FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import reviewlm.cli  # noqa: F401

assert "numpy" not in sys.modules, "the command must choose the features of numpy before"

from reviewlm.core.config.presets import parse_config  # noqa: E402
from reviewlm.tasks.evaluation.processes import (  # noqa: E402
    LEAST_TOKENS,
    model_processes,
    with_model,
)
from tests.tasks.evaluation.made_works import bare, tell_numpy  # noqa: E402

execution = parse_config({"execution": {"device": "cpu"}}).execution
work = bare(tell_numpy, Path(sys.argv[1]))
in_command = with_model(execution, work)
with model_processes(execution, LEAST_TOKENS):
    assert with_model(execution, work) == in_command
print(sorted(in_command))
