"""Models that are made of models, in the configuration."""

from __future__ import annotations

import pytest

from core.config.presets import parse_config
from core.config.run_config import RunConfig
from core.errors import ConfigError
from models.specs import parts_of

KN5, LSTM = {"kind": "ngram", "name": "kn5"}, {"kind": "lstm", "name": "lstm"}
MIX = {"kind": "mixture", "name": "mix", "parts": ["kn5", "lstm"], "method": "gated"}
CACHE = {"kind": "cache", "name": "mix+cache", "part": "mix"}


def test_a_mixture_names_models_that_stand_before_it():
    config = parse_config({"models": [KN5, LSTM, MIX, CACHE], "seed": 7})
    assert [parts_of(spec) for spec in config.models] == [(), (), ("kn5", "lstm"), ("mix",)]
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert config.models[1].training.seed == 7


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([KN5, MIX, LSTM], r"'mix' uses 'lstm', which must be one of the models before it: \['kn5'\]"),
        ([KN5, CACHE], "'mix.cache' uses 'mix'"),
        ([KN5, LSTM, {**MIX, "vocabulary": "char"}], "both must use the same vocabulary"),
        ([KN5, LSTM, {**MIX, "parts": ["kn5"]}], "at least two models"),
        ([KN5, LSTM, {"kind": "mixture", "name": "mix"}], "parts.*the names of at least two models"),
        ([KN5, LSTM, {**MIX, "method": "cubic"}], "cubic"),
        ([KN5, LSTM, {**MIX, "training": {"seed": 1}}], "Unknown setting 'training'"),
    ],
)
def test_what_cannot_be_mixed_is_refused_before_any_work(models, said):
    vocabulary = {"word": {}, "char": {"unit": "char"}}
    with pytest.raises(ConfigError, match=said):
        parse_config({"models": models, "vocabulary": vocabulary})
