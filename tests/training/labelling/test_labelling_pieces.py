"""A batch of labelled sequences that is read in pieces: the same gradient, and the way to it when memory is short."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.neural.labelling.network import LabellingNetwork
from reviewlm.training.labelling import labeller_fit as step
from reviewlm.training.labelling.labeller_fit import add_gradients, pieces
from tests.training.labelling.made_labels import (
    QUICK,
    SMALL,
    TAGS,
    V,
    fitted,
    next_word_tags,
    reviews,
)

ROWS = np.array([3, 0, 8, 11, 2, 5, 7])
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"


def network_of(spec):
    torch.manual_seed(1)
    return LabellingNetwork(spec, V, np.zeros(0, np.int64)).double()


def gradients_of(network):
    return [parameter.grad.clone() for parameter in network.parameters()]


def rows_of_pieces(
    lengths: np.ndarray,
    most: int,
    positions: int,
) -> list[tuple[int, int]]:
    """Cut rows into pieces of at most `most` rows or `positions` positions; give each piece's first row and end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "PIECE_POSITIONS", positions)
        return [(piece.start, piece.stop) for piece in pieces(lengths, most)]


given_rows = given(
    st.lists(st.integers(1, 50), min_size=1, max_size=30).map(np.array),
    st.integers(1, 40),
    st.integers(1, 200),
)


@given_rows
def test_pieces_hold_every_row_once_in_order(
    lengths,
    most,
    positions,
):
    found = rows_of_pieces(lengths, most, positions)

    assert [row for first, last in found for row in range(first, last)] == list(range(len(lengths)))


@given_rows
def test_a_piece_has_at_most_the_allowed_rows(
    lengths,
    most,
    positions,
):
    found = rows_of_pieces(lengths, most, positions)

    assert max(last - first for first, last in found) <= most


@given_rows
def test_a_piece_of_several_rows_has_at_most_the_allowed_positions(
    lengths,
    most,
    positions,
):
    found = rows_of_pieces(lengths, most, positions)

    for first, last in found:
        assert (last - first) * lengths[first:last].max() <= positions or last - first == 1


@given_rows
def test_a_piece_ends_only_where_one_more_row_is_too_much(
    lengths,
    most,
    positions,
):
    found = rows_of_pieces(lengths, most, positions)

    for first, last in found:
        if last < len(lengths) and last - first < most:
            assert (last + 1 - first) * lengths[first : last + 1].max() > positions


@pytest.mark.parametrize("task", ["classification", "tagging"])
@pytest.mark.parametrize("micro_batch", [1, 3])
def test_a_batch_in_pieces_has_the_gradient_of_the_whole(task, micro_batch):
    data = next_word_tags(20, 1) if task == "tagging" else reviews(20, 2, 1)
    spec = TAGS if task == "tagging" else SMALL
    whole, parts = network_of(spec), network_of(spec)
    sums = add_gradients(
        whole.train(),
        data,
        ROWS,
        spec,
        32,
    )
    found = add_gradients(
        parts.train(),
        data,
        ROWS,
        spec,
        micro_batch,
    )
    assert found.nats == pytest.approx(sums.nats, rel=1e-12)
    assert found.tokens == sums.tokens
    assert (
        sums.tokens == (data.targets[data.sequences.positions(ROWS)] >= 0).sum()
        if task == "tagging"
        else 7
    )
    for one, other in zip(gradients_of(whole), gradients_of(parts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def lacking_memory(above, patch):
    """Let every batch of more sequences than that fail after its random draws, and note the sizes."""
    asked, seen = step.asked_features, []

    def features(network, batch, *others):
        seen.append(len(batch.rows_B))
        found = asked(network, batch, *others)
        if len(batch.rows_B) > above:
            raise RuntimeError(NO_MEMORY)
        return found

    patch.setattr(step, "asked_features", features)
    return seen


def test_memory_too_short_for_one_sequence_is_an_error(monkeypatch):
    lacking_memory(0, monkeypatch)
    with pytest.raises(
        ModelError, match=r"Not enough memory on cpu .*DefaultCPUAllocator"
    ) as caught:
        fitted(QUICK, reviews(20, 2, 1), reviews(20, 2, 1))
    assert caught.value.kind == "memory"
