"""Presets that promise something of their models: an ablation that is one, and a recipe that is Karpathy's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.config.presets import load_config
from models.neural.network import Network
from models.specs import RecurrentSpec, model_class

WORDS = 1_200


def network_of(spec: Any) -> Network:
    network: Network = model_class(spec.kind).build(spec, torch.ones(WORDS, dtype=torch.int64))
    return network


def test_X1_the_character_rnn_is_karpathys_recipe_as_far_as_there_are_options_for_it() -> None:
    spec = next(spec for spec in load_config("characters").models if spec.name == "char-rnn")
    assert isinstance(spec, RecurrentSpec)
    assert (spec.kind, spec.nonlinearity, spec.layers, spec.hidden) == ("rnn", "tanh", 1, 100)
    training = spec.training
    assert (training.batch, training.bptt_len, training.bptt_grad_len) == (1, 25, None)
    assert (training.optimizer, training.learning_rate, training.schedule) == ("adagrad", 0.1, "constant")
    assert (training.warmup, training.weight_decay, training.state_reset_prob, spec.dropout) == (0, 0, 0, 0)
    assert training.clip_value == pytest.approx(5 / training.bptt_len)  # of the mean over a window, there of the sum
    assert training.clip is None
