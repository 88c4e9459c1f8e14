"""The smallest gain that the gate can prove, told before a training."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.evaluation.statistics.groups import (
    independent_reviews,
    least_sure_gain,
    reviews_for_gain,
)
from reviewlm.tasks.promotion import language as promote
from reviewlm.tasks.promotion.language import tell_provable_gain


@pytest.mark.parametrize("limit", [0.0, 0.005])
@pytest.mark.parametrize("reviews", [30, 189, 5_000])
def test_the_reviews_for_a_gain_are_those_with_which_it_is_the_least(
    reviews: int, limit: float
) -> None:
    least = least_sure_gain(reviews, 0.95, 1.0, limit)
    assert reviews_for_gain(least, 0.95, 1.0, limit) == pytest.approx(reviews)


def test_for_single_reviews_it_is_the_exact_binomial_limit_for_no_loss() -> None:
    """Of n independent reviews none was a loss: the weight of the losses is at most 1 - α^(1/n), α four fifths."""
    for reviews in (10, 189, 5_000):
        assert independent_reviews(np.ones(reviews)) == pytest.approx(reviews)
        weight = 1 - 0.02 ** (1 / reviews)
        assert least_sure_gain(reviews, 0.95, 1.0) == pytest.approx(weight / (1 - weight))
        above = (0.05 + weight) / (1 - weight)
        assert least_sure_gain(reviews, 0.95, 1.0, limit=0.05) == pytest.approx(min(1.0, above))
    assert least_sure_gain(0, 0.95, 1.0) == 1.0


def test_groups_count_as_reviews_as_far_as_their_reviews_are_unlike() -> None:
    assert independent_reviews(np.full(50, 2), alike=0.0) == pytest.approx(100)
    assert independent_reviews(np.full(50, 2), alike=1.0) == pytest.approx(50)
    assert independent_reviews(np.full(50, 10), alike=0.5) == pytest.approx(50 / 0.55)
    assert independent_reviews(np.full(50, 10), alike=0.0) == pytest.approx(50 / 0.39)
    assert independent_reviews(np.array([3, 1]), alike=1.0) == pytest.approx(16 / 10)


@pytest.mark.parametrize(
    ("reviews", "limit", "said"),
    [
        (20, 0.0, "promotes no model with fewer than 30"),
        (40, 0.0, "1.0 % needs 10 times as many reviews"),
        (100, 0.0, "below 4.0 % cannot be proved; 1.0 % needs --set split.test=0.40"),
        (2_000, 0.0, ""),
        (2_000, 0.02, "below 2.2 % cannot be proved\n"),
    ],
)
def test_it_is_told_only_if_a_better_model_may_be_refused(
    reviews: int,
    limit: float,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    test = pl.DataFrame(
        {
            "review_id": [str(n) for n in range(reviews)],
            "bytes": [400] * reviews,
            "split": "test",
        }
    )
    test.write_parquet(tmp_path / "clean.parquet")
    monkeypatch.setattr(promote, "documents_of", lambda clean: test.select("review_id"))
    clean: Any = SimpleNamespace(folder=tmp_path)
    with caplog.at_level(logging.INFO):
        config = RunConfig(promotion={"min_relative_gain": limit, "min_gain_over_baseline": limit})
        tell_provable_gain(config.promotion, config.split, clean)
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)
