"""A text of any rating: read in one piece or token by token, its state and distributions are the same to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from reviewlm.models.bundles import any_rating
from reviewlm.models.tokens.special import BOS
from tests.serving.engine.small_models import KINDS, bundle_of

READ = (*KINDS, "gated", "cached_gated")
LENGTH = 11


def texts(bundle: Any, count: int) -> np.ndarray:
    ids_BT = np.random.default_rng(2).integers(9, bundle.vocabulary.size, (count, LENGTH))
    ids_BT[:, 0] = BOS
    return ids_BT


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("count", [1, 4])
def test_a_piece_of_a_text_is_read_as_its_tokens_are_one_by_one(kind: str, count: int) -> None:
    bundle = bundle_of(kind)
    model: Any = bundle.reader(None)[0]
    ids_BT = texts(bundle, count)
    stepped: Any = model.start(count)
    for ids_B in ids_BT.T:
        _, stepped = model.step(ids_B, stepped)
    for cut in (LENGTH, 1, 4):
        state: Any = model.start(count)
        for part in (slice(0, cut), slice(cut, LENGTH)):
            state = model.advance(ids_BT[:, part], state)
        assert torch.equal(model._next(state), model._next(stepped))
        assert np.array_equal(state.logp_BR, stepped.logp_BR)
        after = np.full(count, 10)
        assert torch.equal(model.step(after, state)[0], model.step(after, stepped)[0])


def test_pieces_are_no_longer_than_the_memory_for_their_distributions_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = bundle_of("mixture")
    model: Any = bundle.reader(None)[0]
    ids_BT = texts(bundle, 2)
    whole: Any = model.advance(ids_BT, model.start(2))
    rows = len(bundle.ratings(None)) * 2
    monkeypatch.setattr(any_rating, "ENTRIES", 3 * rows * bundle.vocabulary.size)
    cut: Any = model.advance(ids_BT, model.start(2))
    assert torch.equal(model._next(cut), model._next(whole))
    assert np.array_equal(cut.logp_BR, whole.logp_BR)
