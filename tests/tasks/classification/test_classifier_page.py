"""What the page of classifiers shows of their fits: the reviews used."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from reviewlm.tasks.classification.report import count_used, of_all


def test_the_page_counts_the_reviews_that_were_used() -> None:
    def model(reviews: int) -> Any:
        held = SimpleNamespace(facts={"reviews": reviews})
        fit = SimpleNamespace(artifact=SimpleNamespace(facts={"summary": {"train_reviews": 500.0}}))
        return SimpleNamespace(
            fitted=fit,
            validation=held,
            test=SimpleNamespace(facts={"reviews": reviews + 5}),
        )

    compared: Any = SimpleNamespace(models=(model(180),))
    assert count_used(compared) == {
        "train": 500,
        "validation": 180,
        "test": 185,
    }
    assert of_all(500, 2_400) == "500 of 2,400 have a label that is used"
    assert of_all(2_400, 2_400) == "2,400"
