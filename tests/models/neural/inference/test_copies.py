"""Copies: the same tokens in several streams of each text get the numbers that each stream gets by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reviewlm.models.base import score_copies
from reviewlm.models.neural.inference.copies import FEWEST
from reviewlm.models.specs import ObjectiveSpec
from reviewlm.models.tokens.special import BOS, EOS, STARS
from tests.serving.engine.small_models import bundle_of, network

COPIES = 5
TEXTS = FEWEST // COPIES + 2
SIZE = 60
SOFTMAX = ObjectiveSpec(output="softmax")
TAILS = ObjectiveSpec(
    output="adaptive",
    head=12,
    cutoffs=(30,),
    shrink=2.0,
)
MODELS: dict[str, Any] = {
    "adaptive": lambda: network("lstm", SIZE)[1],
    "tails of their own": lambda: network("lstm", SIZE, objective=TAILS)[1],
    "softmax, two layers": lambda: network("lstm", SIZE, objective=SOFTMAX, layers=2)[1],
    "hierarchical": lambda: network(
        "lstm", SIZE, objective=ObjectiveSpec(output="hierarchical"), tied=False
    )[1],
    "no stars": lambda: network("lstm", SIZE, condition_on_stars=False)[1],
    "gru": lambda: network("gru", SIZE)[1],
    "n-gram": lambda: bundle_of("ngram").model,
    "mixture": lambda: bundle_of("mixture").model,
    "gated": lambda: bundle_of("gated").model,
    "cache": lambda: bundle_of("cached_gated").model,
}


def begun(model: Any, texts: int) -> Any:
    """Return the state of texts that were begun with each of five ratings."""
    stars_N = np.tile(STARS[1:], texts)
    begun_N2 = np.stack([np.full_like(stars_N, BOS), stars_N], 1)
    return model.score(begun_N2, model.start(len(stars_N)))[1]


def tokens(
    model: Any,
    texts: int,
    length: int = 9,
) -> np.ndarray:
    return np.random.default_rng(1).integers(9, min(SIZE, model.vocabulary_size), (texts, length))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("texts", [1, TEXTS])
def test_copies_have_the_scores_of_streams_read_one_by_one(name: str, texts: int) -> None:
    model = MODELS[name]()
    ids_BT = tokens(model, texts)
    ids_BT[0, 7:] = EOS, BOS
    state = begun(model, texts)
    found_NT, after = score_copies(model, ids_BT, COPIES, state)
    expected_NT, expected = model.score(np.repeat(ids_BT, COPIES, axis=0), state)
    np.testing.assert_allclose(found_NT, expected_NT, rtol=1e-5, atol=2e-5)
    more_NT = np.full((COPIES * texts, 2), 11)
    found_N2, _ = model.score(more_NT, after)
    np.testing.assert_allclose(found_N2, model.score(more_NT, expected)[0], rtol=1e-5, atol=2e-5)


def test_copies_that_read_a_rating_take_it_over() -> None:
    model = MODELS["adaptive"]()
    ids_BT = tokens(model, TEXTS)
    ids_BT[:, 0] = STARS[3]
    state = begun(model, TEXTS)
    found_NT, _ = score_copies(model, ids_BT, COPIES, state)
    expected_NT, _ = model.score(np.repeat(ids_BT, COPIES, axis=0), state)
    np.testing.assert_allclose(found_NT, expected_NT, rtol=1e-5, atol=2e-5)


def test_copies_cut_anywhere_have_the_same_scores() -> None:
    model = MODELS["gated"]()
    ids_BT = tokens(model, TEXTS)
    state = begun(model, TEXTS)
    whole_NT, _ = score_copies(model, ids_BT, COPIES, state)
    parts = []
    for cut in (slice(0, 3), slice(3, 4), slice(4, 9)):
        nats_NT, state = score_copies(model, ids_BT[:, cut], COPIES, state)
        parts.append(nats_NT)
    np.testing.assert_allclose(np.concatenate(parts, 1), whole_NT, rtol=1e-5, atol=2e-5)
