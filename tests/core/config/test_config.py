"""Presets, overrides and what is checked across sections; passwords in addresses are masked."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from reviewlm.core.config.presets import change_config, load_config, preset_names
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import ConfigError, without_password
from reviewlm.models.specs import RecurrentSpec


@pytest.mark.parametrize("name", preset_names())
def test_every_valid_preset_survives_json(name: str) -> None:
    config = load_config(name)
    assert config.preset == name
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_overrides_reach_into_every_depth() -> None:
    config = load_config(
        "small", ["models.1.hidden=96", "models.1.training.clip=2.5", 'split.salt="x"', "seed=7"]
    )
    spec = config.models[1]
    assert isinstance(spec, RecurrentSpec)
    assert (spec.hidden, spec.training.clip, config.split.salt, config.seed) == (96, 2.5, "x", 7)


def test_a_model_with_dots_in_its_name_is_found_by_it(tmp_path: Path) -> None:
    models = 'extends = "small"\n[[models]]\nkind = "ngram"\nname = "kn5"\n[[models]]\nkind = "gru"\nname = "a.b"\n'
    (tmp_path / "mine.toml").write_text(models)
    child = (
        'extends = "mine.toml"\n[models."a.b"]\nname = "c"\nhidden = 96\ntraining = {clip = 2.5}'
    )
    (tmp_path / "next.toml").write_text(child)
    for preset, given in (
        ("mine", ["models.a.b.training.clip=2.5", "models.a.b.hidden=96"]),
        ("next", []),
    ):
        spec = load_config(str(tmp_path / f"{preset}.toml"), given).models[1]
        assert isinstance(spec, RecurrentSpec)
        assert (spec.hidden, spec.training.clip) == (96, 2.5)
    (tmp_path / "next.toml").write_text(child.replace("a.b", "lstm"))
    with pytest.raises(ConfigError, match=r"no model 'lstm'[^*]*next\.toml"):
        load_config(str(tmp_path / "next.toml"))


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("models.1.hiden=3", "hidden"),
        ("models.1.training.learning_rat=3", "learning_rate"),
        ("sourc.input=[]", "source"),
        ("promotion.confidance=0.9", "confidence"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest_valid_one(
    override: str, nearest: str
) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{nearest}'"):
        load_config("small", [override])


@pytest.mark.parametrize(
    ("override", "where", "said"),
    [
        ("models.1.hidden=650", "models.kn5.hidden", ["models.nplm.hidden"]),
        (
            "models.5.training.nonlinearity=1",
            "models.lstm.training.nonlinearity",
            ["models.lstm.nonlinearity"],
        ),
        (
            "sweep.learning_rate=0.1",
            "sweep.learning_rate",
            ["there is models.nplm.training.learning_rate"],
        ),
        (
            "models.5.training.seeds=3",
            "models.lstm.training.seeds",
            ["did you mean 'seed'?", "there is sweep.seeds"],
        ),
        (
            "models.1.zzz=1",
            "models.kn5.zzz",
            ["settings of models.kn5: kind, name, vocabulary, order"],
        ),
        ("models.lstm.hiden=3", "models.lstm.hiden", ["did you mean 'hidden'?"]),
    ],
)
def test_a_setting_of_another_section_is_told_where_it_stands(
    override: str,
    where: str,
    said: list[str],
) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("demo", [override])
    assert error.value.where == where
    assert all(part in str(error.value) for part in said)
    key = where.rpartition(".")[2]
    assert f"did you mean '{key}'" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    [
        "split.test=0.7",
        "models.1.dropout=1.0",
        "models.0.order=9",
        "models.1.hidden=0",
        "split.test=many",
        "models.1.training.bptt_grad_len=3",
        "baseline=nobody",
        "models.1.vocabulary=klingon",
        "models.9.hidden=1",
        "nonsense",
    ],
)
def test_a_value_out_of_range_is_refused_before_any_work(override: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("small", [override])
    assert error.value.exit_code == 2


@pytest.fixture(scope="module")
def config_before() -> RunConfig:
    return load_config("demo", ["seed=4", "source.synthetic.seed=9", "models.lstm.hidden=8"])


def test_a_recorded_configuration_comes_back(config_before: RunConfig) -> None:
    assert change_config(config_before.model_dump(mode="json")) == config_before


def test_an_override_changes_a_recorded_configuration(config_before: RunConfig) -> None:
    recorded = config_before.model_dump(mode="json")
    other = change_config(recorded, ["models.lstm.hidden=16", "seed=5"])
    assert other.models[5].hidden == 16  # type: ignore[union-attr]
    assert other.models[4] == load_config("demo", ["seed=5"]).models[4]
    assert (other.seed, other.source.synthetic.seed) == (5, 9)
    assert recorded == config_before.model_dump(mode="json")


def test_another_seed_of_a_recorded_configuration_is_that_of_its_classifiers() -> None:
    recorded = load_config("classify").model_dump(mode="json")
    models = change_config(recorded, ["seed=5"]).classification.models
    assert [spec.seed for spec in models if spec.kind == "tfidf"] == [5]  # type: ignore[union-attr]


def test_passwords_of_addresses_are_masked():
    text = '"tracking_uri": "postgresql://reviewer:s3cret@db.example:5432/mlflow", "other": "http://host:80/a@b"'
    assert without_password(text) == text.replace(":s3cret@", ":***@")


MODEL = {
    "kind": "gru",
    "name": "lm",
    "layers": 2,
    "hidden": 24,
    "embedding": 16,
}


def configured(classifier: dict[str, object], **model: object) -> RunConfig:
    spec = {
        "kind": "gru",
        "name": "stars",
        "start": "lm",
        "layers": 2,
        "hidden": 24,
        "embedding": 16,
    }
    ngram = {"kind": "ngram", "name": "kn5"}
    section = {"models": [{**spec, **classifier}], "baseline": "stars"}
    return RunConfig(models=[ngram, MODEL | model], classification=section)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("classifier", "model", "wanted"),
    [
        (
            {"hidden": 128, "embedding": 128},
            {},
            r"hidden = 24 \(not 128\), embedding = 16 \(not 128\)",
        ),
        ({"layers": 1}, {}, r"layers = 2 \(not 1\)"),
        ({"kind": "lstm"}, {}, r"kind = 'gru' \(not 'lstm'\)"),
        ({}, {"form": "cho", "cells": "reference"}, r"form = 'cho' \(not 'cudnn'\)"),
        ({"layer_norm": True, "cells": "reference"}, {}, r"layer_norm = False \(not True\)"),
        (
            {"kind": "rnn"},
            {"kind": "rnn", "nonlinearity": "relu"},
            r"nonlinearity = 'relu' \(not 'tanh'\)",
        ),
    ],
    ids=["sizes", "layers", "kind", "form", "layer norm", "nonlinearity"],
)
def test_another_form_is_refused_with_the_options_to_set(
    classifier: dict[str, object],
    model: dict[str, object],
    wanted: str,
) -> None:
    told = f"'stars' starts from 'lm', whose network has other options; set .*: {wanted}"
    with pytest.raises(ValidationError, match=told):
        configured(classifier, **model)
