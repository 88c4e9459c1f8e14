"""What a training remembers of its course stays small, however long it is."""

from __future__ import annotations

import pytest

from training.neural.optimization.clipping import Clipped
from training.neural.training_metrics import NORMS, TrainingMetrics


def after(updates: int) -> TrainingMetrics:
    course = TrainingMetrics()
    for update in range(updates):
        course.count(1.0, 1, Clipped(float(update), False, False))
    return course


@pytest.mark.parametrize("updates", [2, NORMS - 1, NORMS, 10 * NORMS + 3])
def test_the_quantiles_of_an_epochs_norms_are_those_of_all_of_them_though_few_are_kept(updates: int) -> None:
    course = after(updates)
    assert len(course.norms) <= NORMS
    figures = course.norm_figures()
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert figures[f"gradient_norm/{name}"] == pytest.approx(share * (updates - 1), abs=0.002 * updates + 1)


def test_the_next_epoch_begins_anew_and_the_journal_shows_the_latest_norm() -> None:
    course = after(3 * NORMS)
    course.norm_figures()
    course.count(1.0, 1, Clipped(5.0, False, False))
    course.count(1.0, 1, Clipped(7.0, False, False))
    assert course.norms == [5.0, 7.0]
    assert course.train_figures(0.1)["gradient_norm"] == 7.0
