"""Where a sweep looks is checked before any work, and a wrong space says what to write instead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.config.presets import load_config
from core.config.search_space import Choice, Range, parse_space, to_write, with_options
from core.errors import ConfigError
from models.specs import NPLMSpec, RecurrentSpec, TrainingSpec

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


def test_sections_may_be_tables_as_toml_has_them() -> None:
    space = {"hidden": "8..16", "training": {"clip": "0.5..2"}, "training.beta1": "0.8..0.9"}
    assert list(parse_space(LSTM, space)) == ["hidden", "training.clip", "training.beta1"]


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


def test_the_embedding_of_a_model_with_word_vectors_has_their_size() -> None:
    with pytest.raises(ConfigError, match="it is the size of the model's word vectors"):
        parse_space(replace(LSTM, vectors="own"), {"embedding": "64..256"})
    with pytest.raises(ConfigError, match="'vectors' cannot be searched"):
        parse_space(LSTM, {"vectors": "own|glove"})


def test_each_kind_of_model_has_its_own_options() -> None:
    assert parse_space(NPLMSpec(), {"context": "2..6"})
    with pytest.raises(ConfigError, match="has no option 'context'"):
        parse_space(LSTM, {"context": "2..6"})


def test_values_are_put_into_the_model_and_its_sections() -> None:
    changed = with_options(LSTM, {"hidden": 77, "training.learning_rate": 0.5, "training.clip": 2.0, "dropout": 0.25})
    assert isinstance(changed, RecurrentSpec)
    assert (changed.hidden, changed.dropout) == (77, 0.25)
    assert (changed.training.learning_rate, changed.training.clip) == (0.5, 2.0)
    assert (changed.training.bptt_len, changed.layers) == (LSTM.training.bptt_len, LSTM.layers)


SPACE = {"training.optimizer": "adamw|nesterov", "training.momentum": "0.5..0.95", "training.beta1": "0.8..0.95"}


def test_an_option_may_be_searched_together_with_the_choice_that_gives_it_a_part() -> None:
    assert list(parse_space(LSTM, SPACE)) == list(SPACE)
    adamw, nesterov = (
        with_options(LSTM, {"training.optimizer": name, "training.momentum": 0.6, "training.beta1": 0.85})
        for name in ("adamw", "nesterov")
    )
    assert (adamw.training.momentum, adamw.training.beta1) == (0.9, 0.85)  # type: ignore[union-attr]
    assert (nesterov.training.momentum, nesterov.training.beta1) == (0.6, 0.9)  # type: ignore[union-attr]


def test_trials_that_differ_only_in_what_has_no_part_are_the_same_model() -> None:
    one, two = (with_options(LSTM, {"training.optimizer": "sgd", "training.momentum": m}) for m in (0.5, 0.7))
    assert one == two


def test_an_option_of_the_model_that_loses_its_part_goes_back_to_its_default_and_that_is_told() -> None:
    base = RecurrentSpec(training=TrainingSpec(optimizer="momentum", momentum=0.5), name="heavy")
    values = {"training.optimizer": "adamw", "hidden": 64}
    assert to_write(base, values) == {"training.optimizer": "adamw", "training.momentum": 0.9, "hidden": 64}
    assert to_write(LSTM, {"hidden": LSTM.hidden}) == {"hidden": LSTM.hidden}


def test_the_section_takes_a_table_or_overrides() -> None:
    config = load_config("small", ["sweep.space.hidden=8..16", "sweep.space.training.clip=0.5..2", "sweep.trials=3"])
    assert config.sweep.space == {"hidden": "8..16", "training": {"clip": "0.5..2"}}
    assert config.sweep.trials == 3
    assert load_config("small", ['sweep.space={"training.clip" = "1..2"}']).sweep.space == {"training.clip": "1..2"}


@pytest.mark.parametrize("override", ["sweep.seeds=1", "sweep.prunner=none", "scaling.shares=[0.1,0.2]"])
def test_settings_that_make_no_sense_are_refused(override: str) -> None:
    with pytest.raises(ConfigError):
        load_config("small", [override])
