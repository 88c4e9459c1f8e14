"""What a fit tells of its use of the machine: memory, and the times of its updates."""

from __future__ import annotations

import math
from pathlib import Path

from reviewlm.training.neural.training_metrics import MEASURED
from tests.models.neural.made_trainings import journal, run


def test_every_fit_tells_these_figures_in_its_journal_once_an_epoch_and_in_its_summary(
    tmp_path: Path,
) -> None:
    _, summary = run(tmp_path)
    told = [line for line in journal(tmp_path) if "step_seconds/p50" in line]
    expected = set(MEASURED) - {"peak_gpu_memory_megabytes"}
    assert len(told) == 2
    assert expected <= set(summary)
    assert expected - {"tokens_per_second"} <= set(told[-1])
    assert (
        0
        < summary["step_seconds/p50"]
        <= summary["step_seconds/p90"]
        <= summary["step_seconds/p99"]
    )
    assert summary["peak_memory_megabytes"] > 50
    assert all(math.isfinite(summary[name]) for name in expected)
