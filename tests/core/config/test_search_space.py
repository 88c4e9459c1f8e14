"""Where a sweep looks is checked before any work, and a wrong space says what to write instead."""

from __future__ import annotations

import pytest

from core.config.search_space import Choice, Range, parse_space
from core.errors import ConfigError
from models.specs import RecurrentSpec

LSTM = RecurrentSpec()


@pytest.mark.parametrize(
    ("name", "text", "dimension"),
    [
        ("hidden", "128..512", Range(128, 512, whole=True)),
        ("hidden", "128..512:64", Range(128, 512, whole=True, step=64)),
        ("hidden", "128..512:log", Range(128, 512, whole=True, log=True)),
        ("dropout", "0..0.5", Range(0, 0.5, whole=False)),
        ("training.learning_rate", "1e-4..1e-2:log", Range(1e-4, 1e-2, whole=False, log=True)),
        ("training.clip", "0.25..2", Range(0.25, 2, whole=False)),
        ("training.clip", "0.5|1", Choice((0.5, 1.0))),
        ("training.optimizer", "adamw|sgd", Choice(("adamw", "sgd"))),
        ("tied", "true|false", Choice((True, False))),
        ("tied", [True, False], Choice((True, False))),
        ("layers", "1|2", Choice((1, 2))),
        ("objective.output", "softmax | two_level", Choice(("softmax", "two_level"))),
    ],
)
def test_an_option_is_searched_as_its_own_type(name: str, text: object, dimension: object) -> None:
    assert parse_space(LSTM, {name: text}) == {name: dimension}


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"hiden": "1..2"}, "did you mean 'hidden'"),
        ({"learning_rate": "1e-3..1e-2"}, "did you mean 'training.learning_rate'"),
        ({"training.clp": "1..2"}, "did you mean 'training.clip'"),
        ({"training.optimizer": "adamw|sdg"}, "did you mean 'sgd'"),
        ({"hidden": "512..128"}, "lower end 512 must be below the upper end 128"),
        ({"hidden": "1.5..4"}, "not a whole number"),
        ({"hidden": "64..128:0"}, "step 0 must be above 0"),
        ({"hidden": "64..many"}, "'many' is not a number"),
        ({"hidden": "64..inf"}, "not a finite number"),
        ({"hidden": "0..64"}, "hidden is 0; it must be at least 1"),
        ({"dropout": "0..1"}, "dropout is 1.0"),
        ({"dropout": "0..0.5:log"}, "cannot begin at 0"),
        ({"tied": "0..1"}, "not a number; list the choices"),
        ({"tied": "true"}, "at least two different choices"),
        ({"training.clip": "none|1"}, "'none' is not a number"),  # between which the search goes
        ({"layers": "1|2|2"}, "is listed twice"),
        ({"objective.cutoffs": "1|2"}, "a list, which cannot be searched"),
        ({"training.seed": "1..9"}, "cannot be searched: the seed is not an option"),
        ({"kind": "lstm|gru"}, "cannot be searched"),
        ({"training.momentum": "0.5..0.9"}, "no effect in any trial: it only takes effect with optimizer 'momentum'"),
        ({"training.optimizer": "adamw|sgd", "training.momentum": "0.5..0.9"}, "'training.momentum' has no effect in"),
        ({"objective.samples": "64..512"}, "it only takes effect with estimator 'sampled' or 'nce'"),
        ({"training.schedule": "constant|plateau", "training.final_rate": "0..0.1"}, "with schedule 'cosine'"),
        ({"hidden": ""}, "A range or choices are needed"),
        ({}, "no space to search"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_with_the_reason(space: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_space(LSTM, space)
    assert said in str(error.value)


SPACE = {"training.optimizer": "adamw|nesterov", "training.momentum": "0.5..0.95", "training.beta1": "0.8..0.95"}
