"""Weights that are read from their file: the same numbers, and memory only while they are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.bundles.bundle import load_bundle, save_bundle
from models.neural.inference.weights_on_disk import WeightsOnDisk
from tests.serving.engine.small_models import bundle_of

IDS = np.random.default_rng(0).integers(9, 40, (3, 12))


@pytest.fixture(params=["lstm", "gru", "nplm"])
def loaded(request: pytest.FixtureRequest, tmp_path: Path):
    bundle = bundle_of(request.param)
    save_bundle(tmp_path, bundle.spec, bundle.vocabulary, bundle.model, [("The soup", 3)], {})
    return load_bundle(tmp_path)


def test_scores_and_steps_are_the_same_to_the_bit(loaded):
    model = loaded.model
    scores, logp_BV = model.score(IDS, model.start(3))[0], model.step(IDS[:, 0], model.start(3))[0]
    tied = model.network.embedding.weight is model.network.output.weight
    on_disk = WeightsOnDisk(model)
    assert (model.network.embedding.weight is model.network.output.weight) == tied
    for _ in range(2):
        assert np.array_equal(model.score(IDS, model.start(3))[0], scores)
        assert torch.equal(model.step(IDS[:, 0], model.start(3))[0], logp_BV)
        on_disk.forget()


@pytest.mark.parametrize("how", ["removed", "cut off", "other weights", "not a file of weights"])
def test_weights_whose_file_has_changed_stay_in_memory(loaded, how):
    model, file = loaded.model, loaded.model.network.file
    scores = model.score(IDS, model.start(3))[0]
    if how == "removed":
        file.unlink()
    elif how == "cut off":
        file.write_bytes(file.read_bytes()[:-400])
    elif how == "other weights":
        save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    else:
        file.write_bytes(b"nothing" * 9)
    WeightsOnDisk(model).forget()
    assert np.array_equal(model.score(IDS, model.start(3))[0], scores)
