"""Data that classifiers cannot learn from are refused before any fit, with a remedy that is possible."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import InputError
from reviewlm.tasks.classification.labelling import LABELLINGS, require_labels

EVERY = [1, 2, 3, 4, 5] * 4


def require(*overrides: str, **splits: Sequence[int | None]) -> None:
    """Check ratings of each split; every label unless given."""
    given = {
        "train": EVERY,
        "validation": [5, 1],
        "test": [5, 1],
        **splits,
    }
    config = load_config("classify", list(overrides))
    reviews = {
        split: pl.DataFrame({"stars": stars}, {"stars": pl.Int8()})
        for split, stars in given.items()
    }
    require_labels(
        config.classification, config.seed, LABELLINGS[config.classification.label], reviews
    )


def refused(*overrides: str, **splits: Sequence[int | None]) -> InputError:
    with pytest.raises(InputError) as caught:
        require(*overrides, **splits)
    assert caught.value.where == "classification.label"
    return caught.value


WITHOUT_THREE_STARS = [1, 2, 4, 5, 5, 0, None]


def test_a_rating_that_no_training_review_has_is_named_with_the_counts() -> None:
    error = refused(train=WITHOUT_THREE_STARS)
    assert error.what == "The label '3' has no training review"
    assert "1: 1, 2: 1, 3: 0, 4: 1, 5: 2" in error.cause
    assert "--input" in error.remedy


def test_polarity_is_a_way_out_where_a_rating_has_no_training_review() -> None:
    label = "classification.label=polarity"
    assert label in refused(train=WITHOUT_THREE_STARS).remedy
    require(label, train=WITHOUT_THREE_STARS)


def test_a_label_that_only_the_draw_lost_needs_a_larger_draw() -> None:
    error = refused("classification.train_reviews=3")
    assert error.remedy == (
        "a larger classification.train_reviews: all 20 labelled training reviews have every label"
    )
    assert (
        sum(int(part.split(": ")[1]) for part in error.cause.split("label: ")[1].split(", ")) == 3
    )
    require("classification.train_reviews=20")


@pytest.mark.parametrize(
    ("split", "name"), [("train", "training"), ("validation", "validation"), ("test", "test")]
)
def test_a_split_without_any_label_is_refused(split: str, name: str) -> None:
    error = refused("classification.label=polarity", **{split: [3, 0, None]})
    assert error.what == f"No {name} review has a label"
    assert error.cause == f"the 3 {name} reviews have no stars, or 3"
    assert (f"split.{split}=" in error.remedy) == (split != "train")
