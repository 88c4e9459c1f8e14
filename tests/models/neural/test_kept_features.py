"""Kept features: a text is read once, predictions are the same to the bit, and nothing half done is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.neural.device import POSITIONS
from models.neural.kept_features import KeptFeatures
from models.neural.lm import RecurrentLM
from models.predictions import predictions
from models.specs import RecurrentSpec
from models.tokens.special import BOS, STARS

SIZE = 300
LENGTHS = (5, 40, 3, 17)


@pytest.fixture
def network() -> RecurrentLM:
    spec = RecurrentSpec(hidden=8, embedding=6)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return RecurrentLM(spec, RecurrentLM.build(spec, torch.ones(SIZE, dtype=torch.int64)), SIZE)


@pytest.fixture
def read(monkeypatch) -> list[int]:
    """Number of positions of each call that reads."""
    found: list[int] = []
    features = RecurrentLM._features

    def counted(self, ids_BT, *more):
        found.append(ids_BT.numel())
        return features(self, ids_BT, *more)

    monkeypatch.setattr(RecurrentLM, "_features", counted)
    return found


def texts(seed):
    ids_BT = np.full((len(LENGTHS), max(LENGTHS)), BOS)
    for row, length in enumerate(LENGTHS):
        ids_BT[row, :length] = [BOS, STARS[0], *np.random.default_rng(seed + row).integers(9, SIZE, length - 2)]
    return ids_BT, (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]) & (np.arange(max(LENGTHS)) > 1)


def by_position(network, ids_BT, wanted_BT):
    return {
        (text, position): logp_V.tobytes()
        for part in predictions(network, ids_BT, wanted_BT) for text, position, logp_V in zip(*part, strict=True)
    }  # fmt: skip


@pytest.mark.parametrize("positions", [8, 4_096])
def test_texts_are_read_once_and_predictions_are_the_same_to_the_bit(
    network, read, tmp_path, monkeypatch, positions
):
    monkeypatch.setitem(POSITIONS, "cpu", positions)
    expected = by_position(network, *texts(1))
    assert len(expected) == sum(length - 2 for length in LENGTHS)
    for reads in (1, 0):
        network.kept_features = KeptFeatures(tmp_path / "kept")
        read.clear()
        assert by_position(network, *texts(1)) == expected
        assert sum(read) == reads * texts(1)[0].size
