"""Distributions at chosen positions: those of the steps, each once, and nothing is read that need not be."""

import numpy as np
import pytest

from reviewlm.models.base import ModelError, predictions
from reviewlm.models.tokens.special import BOS, STARS
from tests.models.table_lm import HistoryLM

SIZE = 16


def texts(lengths):
    ids_BT = np.full((len(lengths), max(lengths)), BOS)
    for row, length in enumerate(lengths):
        ids_BT[row, :length] = [
            BOS,
            STARS[0],
            *np.random.default_rng(row).integers(9, SIZE, length - 2),
        ]
    return ids_BT, (np.arange(max(lengths)) < np.array(lengths)[:, None]) & (
        np.arange(max(lengths)) > 1
    )


def test_each_wanted_position_comes_once_with_what_the_steps_say():
    model = HistoryLM.random(SIZE)
    ids_BT, wanted_BT = texts([5, 12, 3, 8])
    wanted_BT[1, 6] = False
    wanted_BT[2] = False
    seen = np.zeros(ids_BT.shape, int)
    for part in predictions(model, ids_BT, wanted_BT):
        for text, position, logp_V in zip(*part, strict=True):
            state = model.start(1)
            for token in ids_BT[text, :position]:
                logp_BV, state = model.step(np.array([token]), state)
            np.testing.assert_array_equal(logp_V, logp_BV[0].numpy())
            seen[text, position] += 1
    assert (seen == wanted_BT).all()


def test_predictions_of_first_positions_are_refused():
    ids_BT, wanted_BT = texts([5, 4])

    with pytest.raises(ModelError, match="first token"):
        predictions(HistoryLM.random(SIZE), ids_BT, wanted_BT | True)


def test_predictions_of_another_shape_are_refused():
    ids_BT, wanted_BT = texts([5, 4])

    with pytest.raises(ModelError, match="shape"):
        predictions(HistoryLM.random(SIZE), ids_BT, wanted_BT[:, :-1])
