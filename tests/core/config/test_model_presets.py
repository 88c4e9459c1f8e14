"""Presets that promise something of their models: an ablation that is one, and a recipe that is Karpathy's."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from core.config.presets import load_config
from models.neural.network import Network
from models.specs import NPLMSpec, RecurrentSpec, model_class

WORDS = 1_200
FEATURES = {"nplm": "hidden.", "rnn": "layers.", "lstm": "layers."}
"""What the parameters of the layer of features begin with."""


def network_of(spec: Any) -> Network:
    network: Network = model_class(spec.kind).build(spec, torch.ones(WORDS, dtype=torch.int64))
    return network


def test_C19_the_models_of_the_ablation_have_every_option_in_common_that_both_have() -> None:
    nplm, *recurrent = load_config("ablation").models
    assert isinstance(nplm, NPLMSpec)
    assert [spec.kind for spec in recurrent] == ["rnn", "lstm"]
    shared = {one.name for one in fields(NPLMSpec)} & {one.name for one in fields(RecurrentSpec)} - {"kind", "name"}
    assert shared >= {"vocabulary", "embedding", "hidden", "dropout", "objective", "training"}
    for spec in recurrent:
        assert {name: getattr(spec, name) for name in shared} == {name: getattr(nplm, name) for name in shared}


def test_C19_options_that_only_one_side_has_are_such_that_the_other_side_does_the_same() -> None:
    nplm, *recurrent = load_config("ablation").models
    assert isinstance(nplm, NPLMSpec)
    assert not nplm.direct
    for spec in recurrent:
        assert isinstance(spec, RecurrentSpec)
        named = {"kind", "name", "vocabulary", "embedding", "hidden", "dropout", "objective", "training"}
        plain = RecurrentSpec(kind=spec.kind, layers=1, tied=False, condition_on_stars=False)
        own = {one.name for one in fields(RecurrentSpec)} - named
        assert {name: getattr(spec, name) for name in own} == {name: getattr(plain, name) for name in own}


def test_C19_their_networks_differ_in_the_layer_of_features_alone() -> None:
    specs = load_config("ablation").models
    others = []
    for spec in specs:
        shapes = {name: tuple(value.shape) for name, value in network_of(spec).state_dict().items()}
        inside = {name for name in shapes if name.startswith(FEATURES[spec.kind])}
        assert inside
        others.append({name: shape for name, shape in shapes.items() if name not in inside})
    assert "embedding.weight" in others[0]
    assert others == [others[0]] * 3


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


def test_X2_characters_are_modelled_by_an_lstm_too_beside_models_of_words() -> None:
    config = load_config("characters")
    units = {spec.name: (spec.kind, config.vocabulary[spec.vocabulary].unit) for spec in config.models}
    assert units == {
        "kn5": ("ngram", "word"), "lstm": ("lstm", "word"), "char-rnn": ("rnn", "char"), "char-lstm": ("lstm", "char"),
    }  # fmt: skip
