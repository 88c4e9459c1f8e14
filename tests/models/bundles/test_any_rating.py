"""A text of any rating: read in one piece or token by token, its state and distributions are the same to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from reviewlm.models.bundles import any_rating
from reviewlm.models.bundles.any_rating import AnyRating
from reviewlm.models.neural.lm import NeuralLM
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


def test_tokens_weigh_the_ratings_as_the_distributions_of_steps_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids_BT = texts(bundle_of("lstm"), 3)
    found = []
    for scores_steps in (True, False):
        monkeypatch.setattr(NeuralLM, "scores_steps", scores_steps)
        model = AnyRating(bundle_of("lstm").model, [1, 3, 5], np.array([0.2, 0.3, 0.5]))
        after = model.advance(ids_BT[:, :-1], model.start(3))
        assert (after.next_BRV is None) == scores_steps
        found.append((after.logp_BR, model.step(ids_BT[:, -1], after)[0].numpy()))

    (quick_BR, quick_BV), (logp_BR, logp_BV) = found
    np.testing.assert_allclose(quick_BR, logp_BR, rtol=0, atol=1e-5)
    np.testing.assert_allclose(quick_BV, logp_BV, rtol=0, atol=1e-5)


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
