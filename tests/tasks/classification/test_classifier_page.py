"""What the page of classifiers shows of their fits: learning curves over reviews seen, and the reviews used."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.classification.results import ClassificationResults
from evaluation.reports.run_results import journal_lines
from models.specs import TrainingSpec
from tasks.classification.report import learning_curve, of_all, used
from tests.models.classification.made_reviews import examples, small, vocabulary
from training.classification.fitting import fit_classifier
from training.context import FitContext

RECIPE = TrainingSpec(epochs=2, batch=10, evaluations=4)


def test_a_curve_counts_training_reviews_and_not_the_tokens_of_the_journal() -> None:
    """95 reviews in batches of 10 are 10 updates of 9.5 reviews each; 4 evaluations of 20 updates are 5 apart."""
    lines = [
        {"step": 700, "train/cross_entropy": 1.5},
        {"step": 1_400, "validation/error_rate": 0.6, "validation/macro_f1": 0.3},
        {"step": 2_900, "validation/error_rate": 0.5},
        {"step": 4_200, "validation/error_rate": 0.45},
        {"step": 5_600, "train/cross_entropy": 0.5},
        {"step": 5_600, "validation/error_rate": 0.25},
    ]
    curve = learning_curve(small("bag", training=RECIPE), {"updates": 20, "train_reviews": 95}, lines)
    assert curve == [(47.5, pytest.approx(0.4)), (95, 0.5), (142.5, pytest.approx(0.55)), (190, 0.75)]
    assert ClassificationResults.across == "training reviews seen"
    assert ClassificationResults.up == "accuracy on validation reviews"


def test_evaluations_that_fall_on_one_update_are_one_point() -> None:
    lines = [{"step": 30, "validation/error_rate": 0.5}, {"step": 60, "validation/error_rate": 0.25}]
    summary = {"updates": 2, "train_reviews": 8}
    assert learning_curve(small("bag", training=RECIPE), summary, lines) == [(8, 0.5), (16, 0.75)]


@pytest.mark.parametrize("kind", ["bag", "tfidf"])
def test_the_curve_of_a_real_fit_ends_after_all_its_epochs_with_the_accuracy_of_its_last_state(
    kind: str, tmp_path: Path
) -> None:
    words = vocabulary()
    train, validation = examples(words, 60, 1), examples(words, 30, 2)
    spec = small(kind)
    summary = fit_classifier(spec, words, train, validation, FitContext(tmp_path)).summary
    lines = journal_lines(tmp_path / "metrics.jsonl")
    curve = learning_curve(spec, {**summary, "train_reviews": 60}, lines)
    assert [seen for seen, _ in curve] == [120, 240, 360, 480]  # 8 epochs, 4 evaluations
    assert max(accuracy for _, accuracy in curve) >= summary["validation/accuracy"] - 1e-9
    assert all(0 <= accuracy <= 1 for _, accuracy in curve)


def test_a_fit_without_a_gradient_has_no_curve() -> None:
    lines = [{"step": 500, "strength_1/macro_f1": 0.5, "strength": 1.0}]
    assert learning_curve(small("logistic"), {"parameters": 9.0, "train_reviews": 9}, lines) == []


def test_a_loss_without_an_error_rate_has_no_curve() -> None:
    lines = [{"step": 30, "validation/squared_error": 1.5}] * 4
    assert learning_curve(small("bag", training=RECIPE), {"updates": 20, "train_reviews": 95}, lines) == []


def test_the_page_counts_the_reviews_that_were_used() -> None:
    def model(reviews: int) -> Any:
        held = SimpleNamespace(facts={"reviews": reviews})
        fit = SimpleNamespace(artifact=SimpleNamespace(facts={"summary": {"train_reviews": 500.0}}))
        return SimpleNamespace(fitted=fit, validation=held, test=SimpleNamespace(facts={"reviews": reviews + 5}))

    compared: Any = SimpleNamespace(models=(model(180),))
    assert used(compared) == {"train": 500, "validation": 180, "test": 185}
    assert of_all(500, 2_400) == "500 of 2,400 have a label that is used"
    assert of_all(2_400, 2_400) == "2,400"
