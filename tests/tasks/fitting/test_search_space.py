"""Where a sweep looks is checked before any work, and a wrong space says what to write instead."""

from __future__ import annotations

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from reviewlm.core.config.presets import parse_config
from reviewlm.core.errors import ConfigError
from reviewlm.models.specs import RecurrentSpec
from reviewlm.tasks.fitting.search_space import chosen_model, parse_space, to_write

LSTM = RecurrentSpec()


@pytest.mark.parametrize(
    ("name", "text", "distribution"),
    [
        ("hidden", "128..512", IntDistribution(128, 512)),
        ("hidden", "128..512:64", IntDistribution(128, 512, step=64)),
        ("hidden", "128..512:log", IntDistribution(128, 512, log=True)),
        ("dropout", "0..0.5", FloatDistribution(0, 0.5)),
        ("training.learning_rate", "1e-4..1e-2:log", FloatDistribution(1e-4, 1e-2, log=True)),
        ("training.clip", "0.25..2", FloatDistribution(0.25, 2)),
        ("training.clip", "none|1", CategoricalDistribution((None, 1.0))),
        (
            "training.momentum",
            "0.5..0.9",
            FloatDistribution(0.5, 0.9),
        ),  # takes effect only with some optimisers
        ("training.optimizer", "adamw|sgd", CategoricalDistribution(("adamw", "sgd"))),
        ("tied", "true|false", CategoricalDistribution((True, False))),
        ("tied", [True, False], CategoricalDistribution((True, False))),
        ("layers", "1|2", CategoricalDistribution((1, 2))),
        (
            "objective.output",
            "softmax | adaptive",
            CategoricalDistribution(("softmax", "adaptive")),
        ),
    ],
)
def test_an_option_is_searched_as_its_own_type(
    name: str,
    text: object,
    distribution: BaseDistribution,
) -> None:
    assert parse_space(LSTM, {name: text}) == {name: distribution}


@pytest.mark.parametrize(
    ("space", "meant"),
    [
        ({"hiden": "1..2"}, "did you mean 'hidden'"),
        ({"learning_rate": "1e-3..1e-2"}, "did you mean 'training.learning_rate'"),
        ({"training.clp": "1..2"}, "did you mean 'training.clip'"),
        ({"training.optimizer": "adamw|sdg"}, "sgd"),
        ({"hidden": "512..128"}, "low"),
        ({"hidden": "1.5..4"}, "whole number"),
        ({"hidden": "64..128:0"}, "step"),
        ({"hidden": "64..128:x"}, "'x'"),
        ({"hidden": "64..many"}, "'many'"),
        ({"hidden": "64..inf"}, "'inf'"),
        ({"hidden": "0..64"}, "at least 1"),
        ({"dropout": "0..1"}, "dropout is '1'"),
        ({"dropout": "0..0.5:log"}, "low"),
        ({"dropout": "0..0.5:nan"}, "step"),
        ({"tied": "0..1"}, "choices"),
        ({"tied": "true"}, "choices"),
        ({"layers": "1|2|2"}, "twice"),
        ({"objective.cutoffs": "1|2"}, "cutoffs"),
        ({"training.seed": "1..9"}, "training.seed"),
        ({"kind": "lstm|gru"}, "kind"),
        ({"hidden": ""}, "hidden"),
        ({}, "--space"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_with_the_reason(
    space: dict[str, object], meant: str
) -> None:
    with pytest.raises(ConfigError) as error:
        parse_space(LSTM, space)
    assert meant in str(error.value)


def test_the_winners_options_are_written_as_the_configuration_takes_them() -> None:
    """What the sampler drew for an option that has no part in the winner would be refused in a preset."""
    drawn = {
        "hidden": 9,
        "training.optimizer": "adamw",
        "training.momentum": 0.6,
    }
    assert to_write(LSTM, drawn) == {
        "hidden": 9,
        "training.optimizer": "adamw",
        "training.momentum": 0.9,
    }


@pytest.mark.parametrize(
    ("kinds", "name", "remedy"),
    [
        (("ngram", "gru", "nplm"), "", "one of gru, nplm"),
        (("ngram", "gru", "nplm"), "ngram", "one of gru, nplm"),
        (("ngram", "gru", "nplm"), "nlpm", "did you mean 'nplm'?"),
        (("ngram",), "", "add one"),
    ],
)
def test_another_model_or_none_where_one_is_needed_is_refused(
    kinds: tuple[str, ...],
    name: str,
    remedy: str,
) -> None:
    models = [{"kind": kind, "name": kind} for kind in kinds]
    config = parse_config({"models": models, "baseline": kinds[0]})
    with pytest.raises(ConfigError) as error:
        chosen_model(config.models, name)
    assert remedy in error.value.remedy
