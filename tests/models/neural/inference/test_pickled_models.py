"""A model that was used can be sent to another process, as multiprocessing does; its answers are the same to the bit."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch

from reviewlm.models.bundles.bundle import in_int8
from reviewlm.models.neural.inference import int8_products
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import NPLMSpec, RecurrentSpec

WORDS = 40
SPECS = {
    "rnn": RecurrentSpec(
        kind="rnn",
        hidden=9,
        embedding=9,
    ),
    "gru": RecurrentSpec(
        kind="gru",
        hidden=9,
        embedding=9,
    ),
    "lstm": RecurrentSpec(
        kind="lstm",
        hidden=9,
        embedding=9,
    ),
    "nplm": NPLMSpec(hidden=9, embedding=9),
}


def step_once(model: NeuralLM) -> torch.Tensor:
    return model.step(np.array([7, 8]), model.start(2))[0]


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize(
    "form",
    [
        lambda model: model,
        pytest.param(
            in_int8,
            marks=pytest.mark.skipif(
                not int8_products.AVAILABLE, reason="the processor has no instructions for int8"
            ),
        ),
    ],
    ids=["float32", "int8"],
)
def test_a_used_model_steps_alike_after_a_pickle(
    kind: str, form: Callable[[NeuralLM], NeuralLM]
) -> None:
    torch.manual_seed(1)
    spec = SPECS[kind]
    network = NeuralLM.build(spec, torch.ones(WORDS, dtype=torch.int64))
    model = form(NeuralLM(spec, network, WORDS))
    before = step_once(model)
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(step_once(again), before)
