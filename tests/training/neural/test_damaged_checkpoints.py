"""Damaged, unreadable or foreign checkpoints: what is used instead, and what is said."""

import os

import pytest
import torch

from reviewlm.models.neural.network import fill_network, network_tensors
from reviewlm.training.neural.trainer import CHECKPOINTS
from tests.marked_cases import long_but
from tests.training.neural.killed_trainings import (
    assert_same_as,
    bits,
    kill,
    network_of,
    newest,
    run,
)


@pytest.mark.parametrize("change", ["missing", "too many", "another shape"])
def test_weights_are_put_back_whole_or_not_at_all(change):
    network = network_of()
    tensors, before = network_tensors(network), bits(network)
    assert "output.weight" not in tensors or "embedding.weight" not in tensors  # tied: stored once
    name = "layers.0.bias_hh_l0"
    for tensor in tensors.values():
        tensor.zero_()
    if change == "missing":
        del tensors[name]
    elif change == "too many":
        name = "layers.9.bias_hh_l0"
        tensors[name] = torch.zeros(3)
    else:
        tensors[name] = torch.zeros(3)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        fill_network(network, tensors)
    assert bits(network) == before


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) * 3 // 4] ^= 1
    path.write_bytes(raw)


DAMAGE = {
    "a flipped bit": lambda folder: flip(newest(folder)),
    "cut short": lambda folder: os.truncate(newest(folder), 1000),
    "empty": lambda folder: os.truncate(newest(folder), 0),
    "missing": lambda folder: newest(folder).unlink(),
    "a journal cut short": lambda folder: os.truncate(folder / "metrics.jsonl", 700),
    "no journal": lambda folder: (folder / "metrics.jsonl").unlink(),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", long_but(DAMAGE, {"a flipped bit", "no journal"}))
def test_a_training_goes_on_from_the_checkpoint_before_a_damaged_one(
    tmp_path,
    undisturbed,
    damage,
    caplog,
):
    kill(tmp_path, undisturbed[1]["updates"] * 3 // 4)
    assert len(list((tmp_path / CHECKPOINTS).iterdir())) == 2
    DAMAGE[damage](tmp_path)
    assert_same_as(undisturbed, tmp_path, *run(tmp_path))
    assert ("is skipped" in caplog.text) == (damage != "missing")
