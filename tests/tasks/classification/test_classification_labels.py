"""What a classifier predicts, and which reviews it is fitted on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.sections.other_models import ClassificationConfig
from reviewlm.core.errors import InputError
from reviewlm.tasks.classification.field_labels import _frequent
from reviewlm.tasks.classification.labelling import (
    LABELLINGS,
    LABELS_FILE,
    LEFT_OUT,
    drawn_rows,
    labelling_of,
)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("stars", [LEFT_OUT, 0, 1, 2, 3, 4, LEFT_OUT]),
        ("polarity", [LEFT_OUT, 0, 0, LEFT_OUT, 1, 1, LEFT_OUT]),
    ],
)
def test_each_known_rating_has_its_label(label: str, expected: list[int]) -> None:
    reviews = pl.DataFrame({"stars": [0, 1, 2, 3, 4, 5, None]}, {"stars": pl.Int8()})
    assert LABELLINGS[label].numbers(reviews).tolist() == expected


def test_a_field_labels_the_reviews_by_their_id(
    tmp_path: Path,
) -> None:
    pl.DataFrame({"review_id": ["a", "b", "c"], "label": ["bar", "café", "zoo"]}).write_parquet(
        tmp_path / LABELS_FILE
    )
    labelling = labelling_of("kind", ("café", "bar"), tmp_path)
    assert labelling.names == ("café", "bar")
    reviews = pl.DataFrame({"review_id": ["c", "b", "x", "a", "b"], "stars": [1] * 5})
    assert labelling.numbers(reviews).tolist() == [LEFT_OUT, 0, LEFT_OUT, 1, 0]


def names(labels: list[str], least: int = 2) -> tuple[str, ...]:
    config = load_config("classify", ["classification.label=kind"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClassificationConfig, "min_label_reviews", least)
        return _frequent(config.classification, Counter(labels))


def test_a_field_with_one_label_or_with_too_many_is_refused() -> None:
    with pytest.raises(InputError, match="fewer than two") as few:
        names(["yes"] * 5 + ["no"])
    assert "'yes': 5, 'no': 1" in few.value.cause
    with pytest.raises(InputError, match="too many different labels") as many:
        names([str(number) for number in range(101)])
    assert "101 among the training reviews, e.g. '0', '1', '2'" in many.value.cause


def test_a_classifier_of_other_labels_is_refused() -> None:
    with pytest.raises(InputError, match="predicts other labels"):
        labelling_of("stars", ("negative", "positive"), None)


def test_a_drawn_part_keeps_the_order() -> None:
    found = drawn_rows(50, 10, 1).tolist()

    assert found == sorted(found)


def test_a_drawn_part_is_the_same_for_the_same_seed() -> None:
    assert drawn_rows(50, 10, 1).tolist() == drawn_rows(50, 10, 1).tolist()


def test_a_drawn_part_is_another_for_another_seed() -> None:
    assert drawn_rows(50, 10, 1).tolist() != drawn_rows(50, 10, 2).tolist()


def test_a_part_larger_than_the_whole_is_the_whole() -> None:
    assert drawn_rows(50, 60, 1).tolist() == list(range(50))
