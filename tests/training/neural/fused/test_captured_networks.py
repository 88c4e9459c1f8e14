"""Every network's window can be captured as a CUDA graph, and is replayed to the same numbers, on any kind of GPU."""

from dataclasses import replace

import pytest
import torch

from reviewlm.models.specs import TrainingSpec
from reviewlm.training.neural import step
from reviewlm.training.neural.batches import Plan
from reviewlm.training.neural.fused.captured import capture_reading
from reviewlm.training.neural.state import TrainingState
from reviewlm.training.neural.step import TrainingStep
from tests.models.neural.made_trainings import SPEC, TRAIN, TRAINING, V, network_of

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_as_in_a_fit")]
GPU = torch.device("cuda", 0)
B, T = 6, 12
BY_REVIEW = replace(TRAINING, stateful=False, state_reset_prob=TrainingSpec().state_reset_prob)
PENALISED = replace(TRAINING, activation_penalty=1.0, temporal_penalty=1.0)
NETWORKS = {
    "rnn": {"kind": "rnn"},
    "relu": {"kind": "rnn", "nonlinearity": "relu"},
    "gru": {},
    "lstm": {"kind": "lstm"},
    "three layers": {"kind": "lstm", "layers": 3},
    "reference": {"kind": "lstm", "cells": "reference"},
    "normalised": {"cells": "reference", "layer_norm": True},
    "cho": {"cells": "reference", "form": "cho"},
    "no stars": {"condition_on_stars": False},
    "own rows": {"tied": False},
    "penalties": {"training": PENALISED},
    "masks by window": {"variational": True, "dropout": 0.3},
    "dropped words": {"embedding_dropout": 0.3},
    "dropped weights": {"weight_drop": 0.3},
    "by review": {"kind": "lstm", "training": BY_REVIEW},
}


def windows():
    """Two windows that differ, with ids of words, `<bos>` and ratings."""
    return torch.randint(0, V, (2, B, T), generator=torch.Generator().manual_seed(4)).to(GPU)


def difference(network):
    """The largest relative difference of two windows after one another, replayed and launched with equal draws."""
    state, random, found = network.start(B, GPU), torch.cuda.get_rng_state(GPU), []
    read = capture_reading(network, windows()[0], state)
    assert read is not None
    for one in (read, network):
        torch.cuda.set_rng_state(random, GPU)
        memory, features = state, []
        for ids_BT in windows():
            features_BTE, memory = one(ids_BT, memory)
            features.append(features_BTE.detach().clone())
            memory = tuple(tensor.detach() for tensor in memory)
        found.append([*features, *memory])
    replayed, launched = found
    assert [one.dtype for one in replayed] == [one.dtype for one in launched]
    return max(
        float((a - b).double().norm() / b.double().norm())
        for a, b in zip(replayed, launched, strict=True)
    )


@pytest.mark.parametrize(("precision", "share"), [("float32", 1e-5), ("bf16", 0.02)])
@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_a_recurrent_network_is_replayed_to_the_numbers_of_its_launches(
    options,
    precision,
    share,
):
    spec = replace(SPEC, **options)
    network = network_of(replace(spec, training=replace(spec.training, precision=precision)))
    assert difference(network.to(GPU).train()) <= share


@pytest.mark.parametrize(
    ("recipe", "captures"),
    [({}, True), ({"random_window": True}, False), ({"bptt_grad_len": 15}, False)],
    ids=str,
)
def test_windows_that_are_all_of_one_shape_are_captured_once(
    monkeypatch,
    recipe,
    captures,
):
    training, shapes = replace(TRAINING, **recipe), []

    def seen(
        network,
        ids_BT,
        state,
    ):
        shapes.append(tuple(ids_BT.shape))
        return capture_reading(network, ids_BT, state)

    monkeypatch.setattr(step, "capture_reading", seen)
    state = TrainingState(
        network_of(replace(SPEC, training=training)).to(GPU).train(), training, 100
    )
    update = TrainingStep(state, lambda figures: None)
    for _, given in zip(range(3), Plan(TRAIN, training).rest_of_epoch(0), strict=False):
        update(*given)
        state.metrics.updates += 1
    state.settle()
    assert shapes == [(training.batch, training.bptt_len)] * captures
