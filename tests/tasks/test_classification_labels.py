"""What a classifier predicts, and which reviews it is fitted on."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from models.neural.labelling.labelled_sequences import LabelledSequences
from tasks.classification.fit_worker import drawn
from tasks.classification.labels import LABELLINGS, LEFT_OUT


@pytest.mark.parametrize(("label", "expected"), [
    ("stars", [LEFT_OUT, 0, 1, 2, 3, 4, LEFT_OUT]),
    ("polarity", [LEFT_OUT, 0, 0, LEFT_OUT, 1, 1, LEFT_OUT]),
])  # fmt: skip
def test_each_rating_has_its_label_and_an_unknown_one_none(label: str, expected: list[int]) -> None:
    stars = pl.Series([0, 1, 2, 3, 4, 5, None], dtype=pl.Int8)
    assert LABELLINGS[label].numbers(stars).tolist() == expected


def test_labels_are_as_many_as_their_numbers() -> None:
    for labelling in LABELLINGS.values():
        assert sorted(set(labelling.by_stars) - {LEFT_OUT}) == list(range(len(labelling.names)))


def test_a_drawn_part_keeps_the_order_and_depends_on_the_seed_only() -> None:
    examples = LabelledSequences.of([[number + 20] for number in range(50)], np.arange(50))
    first, again, other = drawn(examples, 10, 1), drawn(examples, 10, 1), drawn(examples, 10, 2)
    assert first.targets.tolist() == again.targets.tolist() == sorted(first.targets)
    assert first.targets.tolist() != other.targets.tolist()
    assert (first.sequences.ids_P - 20).tolist() == first.targets.tolist()
    assert drawn(examples, 60, 1) is examples


def test_a_larger_part_contains_the_smaller_one() -> None:
    examples = LabelledSequences.of([[number + 20] for number in range(50)], np.arange(50))
    assert set(drawn(examples, 10, 1).targets) < set(drawn(examples, 20, 1).targets)
