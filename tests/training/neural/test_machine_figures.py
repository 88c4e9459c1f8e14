"""What a fit tells of its use of the machine: memory, and the times of its updates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from reviewlm.training.neural.training_metrics import MEASURED
from tests.models.neural.made_trainings import journal, run

EVERYWHERE = set(MEASURED) - {"peak_gpu_memory_megabytes"}
"""Names of the figures that a training without a GPU has."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder of the one training that these tests read."""
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def summary(folder: Path) -> dict[str, Any]:
    """Train a small network; give its summary."""
    return run(folder)[1]


def test_the_summary_of_a_fit_has_every_machine_figure(summary: dict[str, Any]) -> None:
    assert set(summary) >= EVERYWHERE


def test_the_journal_of_a_fit_has_machine_figures_once_an_epoch(
    folder: Path, summary: dict[str, Any]
) -> None:
    told = [line for line in journal(folder) if "step_seconds/p50" in line]

    assert len(told) == 2
    assert set(told[-1]) >= EVERYWHERE - {"tokens_per_second"}


def test_quantiles_of_the_seconds_of_a_step_rise(summary: dict[str, Any]) -> None:
    quantiles = [summary[f"step_seconds/{name}"] for name in ("p50", "p90", "p99")]

    assert quantiles[0] > 0
    assert quantiles == sorted(quantiles)


def test_a_training_uses_more_than_50_megabytes(summary: dict[str, Any]) -> None:
    assert summary["peak_memory_megabytes"] > 50


def test_every_machine_figure_is_finite(summary: dict[str, Any]) -> None:
    infinite = {name for name in EVERYWHERE if not math.isfinite(summary[name])}

    assert infinite == set()
