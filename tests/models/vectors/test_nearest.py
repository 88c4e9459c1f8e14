"""The nearest vectors by cosine: all are compared, whatever the blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import ModelError
from models.vectors import nearest
from models.vectors.nearest import cosines, nearest_rows
from tests.examples import examples


def test_the_cosine_is_that_of_the_angle_for_vectors_of_any_length() -> None:
    rows = np.array([[3.0, 0.0], [5.0, 5.0], [0.0, 0.1], [-2.0, 0.0], [0.0, 0.0]])
    found = cosines(np.array([7.0, 0.0]), rows)
    np.testing.assert_allclose(found, [1, math.cos(math.pi / 4), 0, -1, 0], atol=1e-6)
    assert found.dtype == np.float32


@given(rows=st.integers(0, 30), block=st.integers(1, 40), seed=st.integers(0, 9))
@examples(60)
def test_the_size_of_the_blocks_changes_nothing(rows: int, block: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    matrix, query = draw.normal(size=(rows, 5)).astype(np.float32), draw.normal(size=5).astype(np.float32)
    wanted = [float(query @ row / np.linalg.norm(query) / np.linalg.norm(row)) for row in matrix]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "BLOCK", block)
        np.testing.assert_allclose(cosines(query, matrix), wanted, atol=1e-5)


def test_the_largest_come_first_equal_ones_in_their_order_and_without_those_left_out() -> None:
    found = np.array([0.5, 0.9, 0.5, 1.0, -1.0], np.float32)
    assert nearest_rows(found, 3).tolist() == [3, 1, 0]
    assert nearest_rows(found, 9, [3, 0]).tolist() == [1, 2, 4]
    assert nearest_rows(found, 0).tolist() == []


def test_vectors_of_another_model_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot be compared"):
        cosines(np.zeros(3), np.zeros((4, 2)))
