"""Fine-tuning from a language model: rates by layer, slanted triangles, layers unfrozen one after another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from reviewlm.models.classification.spec import RecurrentClassifierSpec
from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec
from reviewlm.training.labelling.labeller_fit import slanted_triangular
from tests.training.labelling.made_labels import SMALL, TRAINING, V, fitted, reviews

TUNED = replace(SMALL, layers=2, training=replace(TRAINING, epochs=5, learning_rate=1e-2))


@pytest.mark.parametrize("updates", [10, 50, 1_000])
def test_where_the_cut_is_whole_it_is_the_papers_equation(updates):
    cut = updates // 10
    for t in range(updates):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / 0.1 - 1))
        assert slanted_triangular(
            t,
            updates,
            0.01,
            0.1,
            32,
        ) == pytest.approx(0.01 * (1 + p * 31) / 32)


def language_model(layers=2):
    torch.manual_seed(7)
    shape = {
        "kind": "gru",
        "hidden": 24,
        "embedding": 16,
        "tied": False,
        "objective": ObjectiveSpec("softmax"),
    }
    return RecurrentNetwork(RecurrentSpec(**shape, layers=layers), torch.ones(V))


def tuning(unfreeze_epochs):
    return RecurrentClassifierSpec(
        start="lm",
        layers=2,
        unfreeze_epochs=unfreeze_epochs,
        training=replace(TRAINING, epochs=9),
    )


def test_frozen_parts_keep_the_weights_of_the_language_model_until_their_epoch():
    """Five epochs, and every 1.5 epochs one more part: the embedding is trained in the last half epoch only."""
    start, data = language_model(), reviews(160, 2, 1)
    short = replace(TUNED, training=replace(TUNED.training, epochs=1.4, evaluations=1))
    model, _ = fitted(
        short,
        data,
        data,
        start=start,
        tuning=tuning(1.5),
    )
    trunk = model.network
    assert torch.equal(trunk.embedding.weight, start.embedding.weight)
    for own, theirs in zip(trunk.encoder.layers, start.layers, strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(own.parameters(), theirs.parameters(), strict=True)
        )
    assert all(parameter.requires_grad for parameter in model.network.parameters())
    longer = replace(TUNED, training=replace(TUNED.training, epochs=2, evaluations=1))
    trunk = fitted(
        longer,
        data,
        data,
        start=start,
        tuning=tuning(1.5),
    ).model.network
    assert torch.equal(trunk.embedding.weight, start.embedding.weight)
    changed = [
        not torch.equal(a.weight_hh_l0, b.weight_hh_l0)
        for a, b in zip(trunk.encoder.layers, start.layers, strict=True)
    ]
    assert changed == [False, True]


def test_a_killed_fine_tuning_resumes_with_the_same_bits(tmp_path, monkeypatch):
    from reviewlm.training.labelling.labeller_fit import LabellerStep

    start, data = language_model(), reviews(120, 2, 1)
    options = {"start": start, "tuning": tuning(1.0)}
    whole = fitted(TUNED, data, data, **options).model
    update = LabellerStep.__call__

    def dying(self, rows, keep):
        if self.state.metrics.updates == 14:
            raise KeyboardInterrupt
        update(self, rows, keep)

    with monkeypatch.context() as patch:
        patch.setattr(LabellerStep, "__call__", dying)
        with pytest.raises(KeyboardInterrupt):
            fitted(
                TUNED,
                data,
                data,
                work=tmp_path,
                **options,
            )
    resumed = fitted(
        TUNED,
        data,
        data,
        work=tmp_path,
        **options,
    ).model
    assert np.array_equal(whole.scores(data.sequences), resumed.scores(data.sequences))
