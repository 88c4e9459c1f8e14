"""Packed products: a row's result depends on no other row, and few numbers of rows reach oneDNN."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from reviewlm.models.neural.inference import reader


@given(st.integers(1, 100_000))
def test_a_product_has_at_most_half_as_many_rows_again_as_it_needs(rows: int) -> None:
    computed = reader.rows_computed(rows)
    assert rows <= computed <= max(rows + 7, 1.5 * rows)
    assert reader.rows_computed(computed) == computed


@pytest.mark.parametrize("bias", [False, True])
def test_the_result_is_that_of_a_plain_product_in_any_batch(bias: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    x_NE, W_GE = torch.randn(70, 33, generator=draw), torch.randn(41, 33, generator=draw)
    b_G = torch.randn(41, generator=draw) if bias else None
    linear = reader.packed_linear(W_GE, b_G)
    whole_NG = linear(x_NE)
    torch.testing.assert_close(whole_NG, F.linear(x_NE, W_GE, b_G))
    for rows in (1, 2, 5, 8, 9, 33, 69):
        assert linear(x_NE[:rows]).shape == (rows, 41)
        if torch.backends.mkldnn.is_available():
            assert torch.equal(linear(x_NE[:rows]), whole_NG[:rows])


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")
@pytest.mark.parametrize(("same", "rows"), [(True, {1, 4, 16}), (False, {2, 4, 16})])
def test_a_single_row_gets_a_neighbour_where_alone_its_sums_have_another_order(
    monkeypatch: pytest.MonkeyPatch,
    same: bool,
    rows: set[int],
) -> None:
    computed = set()

    def counted(x_NE: Tensor, *rest: object) -> Tensor:
        computed.add(len(x_NE))
        return product(x_NE, *rest)

    monkeypatch.setattr(reader, "same_for_any_rows", lambda linear, features: same)
    linear = reader.packed_linear(torch.randn(3, 5), None)
    product = torch.ops.mkldnn._linear_pointwise
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", counted)
    for given_rows in (1, 4, 9, 16):
        assert linear(torch.randn(given_rows, 5)).shape == (given_rows, 3)
    assert computed == rows
