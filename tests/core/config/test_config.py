"""One typed configuration: presets, overrides, and errors that name the nearest valid key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config.presets import change_config, load_config, preset_names
from core.config.run_config import RunConfig
from core.errors import ConfigError
from models.specs import KINDS, RecurrentSpec, identity, spec_from_dict


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_survives_json(name: str) -> None:
    config = load_config(name)
    assert config.preset == name
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_the_schema_that_prefect_makes_of_a_configuration_for_every_flow_is_short() -> None:
    """Of all settings it took 0.2 CPU seconds for each of six flows, at every start."""
    assert RunConfig.model_json_schema() == {"type": "object", "title": "RunConfig"}


def test_the_presets_that_the_readme_names_are_there() -> None:
    assert {"demo", "small", "full", "gpu"} <= set(preset_names())


def test_the_demo_compares_every_kind_of_model_on_the_same_tokens() -> None:
    config = load_config("demo")
    assert {spec.kind for spec in config.models} == set(KINDS)
    assert len({spec.vocabulary for spec in config.models}) == 1


def test_overrides_reach_into_lists_and_nested_sections() -> None:
    config = load_config("small", ["models.1.hidden=96", "models.1.training.clip=2.5", 'split.salt="x"', "seed=7"])
    spec = config.models[1]
    assert isinstance(spec, RecurrentSpec)
    assert (spec.hidden, spec.training.clip, config.split.salt, config.seed) == (96, 2.5, "x", 7)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("models.1.hiden=3", "hidden"),
        ("models.1.training.learning_rat=3", "learning_rate"),
        ("sourc.input=[]", "source"),
        ("promotion.confidance=0.9", "confidence"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest_valid_one(override: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{nearest}'"):
        load_config("small", [override])


@pytest.mark.parametrize(
    ("override", "where", "said"),
    [
        ("models.1.hidden=650", "models.1.hidden",
         ["there is models.2.hidden", "models.1 is 'kn5' of kind 'ngram', and it has no such setting"]),
        ("models.5.training.nonlinearity=relu", "models.5.training.nonlinearity",
         ["there is models.5.nonlinearity", "its section training has no such setting"]),
        ("sweep.learning_rate=0.1", "sweep.learning_rate",
         ["there is models.2.training.learning_rate", "the section sweep has no such setting"]),
        ("models.5.training.seeds=3", "models.5.training.seeds", ["did you mean 'seed'?", "there is sweep.seeds"]),
        ("sweep.learnig_rate=1", "sweep.learnig_rate", ["did you mean 'learning_rate'?", "there is models.2.training"]),
        ("models.1.zzz=1", "models.1.zzz", ["settings of models.1: kind, name, vocabulary, order"]),
        ("models.lstm.hiden=3", "models.lstm.hiden", ["did you mean 'hidden'?"]),
    ],
)  # fmt: skip
def test_a_setting_of_another_section_is_told_where_it_stands(override: str, where: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("demo", [override])
    assert error.value.where == where
    assert all(part in str(error.value) for part in said)
    key = where.rpartition(".")[2]
    assert f"did you mean '{key}'" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("models.5.training.clip=-1", "models.5.training.clip"), ("models.5.dropout=many", "models.5.dropout"),
        ("models.5.training.clip=inf", "models.5.training.clip"), ("models.5.hidden=0", "models.5.hidden"),
        ("models.5.training.momentum=0.5", "models.5.training.momentum"),
        ("models.lstm.hidden=0", "models.lstm.hidden"),
        ("models.2.training={bptt_grad_len=90}", "models.2.training.bptt_grad_len"),
    ],
)  # fmt: skip
def test_the_place_of_a_wrong_value_can_be_typed_back(override: str, where: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("demo", [override])
    assert error.value.where == where


def test_what_may_be_left_open_is_left_open_by_none() -> None:
    config = load_config("demo", [
        "models.5.training.clip=none", "models.5.training.loss_spike_threshold=none", "models.5.input_dropout=none",
        'models.0={kind="ngram", name="unigram", order=1, smoothing="add_k", k="none"}',
    ])  # fmt: skip
    spec = config.models[5]
    assert isinstance(spec, RecurrentSpec)
    assert (spec.training.clip, spec.training.loss_spike_threshold, spec.input_dropout) == (None, None, None)
    for other in ("None", "null", "off"):
        with pytest.raises(ConfigError, match="a number, or 'none' to do without"):
            load_config("demo", [f"models.5.training.clip={other}"])
    with pytest.raises(ConfigError, match=r"models\.5\.training\.bptt_len"):  # which must be something
        load_config("demo", ["models.5.training.bptt_len=none"])


@pytest.mark.parametrize(
    "key",
    ["models.5.hidden", "models.5.training.clip", "models.5.training.epochs", "source.synthetic.reviews", "seed",
     "vocabulary.word.min_count", "promotion.max_latency_ms"],
)  # fmt: skip
def test_a_truth_value_is_no_number(key: str) -> None:
    with pytest.raises(ConfigError, match="is true; it must be a number") as error:
        load_config("demo", [f"{key}=true"])
    assert error.value.where == key


@pytest.mark.parametrize(
    "override",
    ["split.test=0.7", "models.1.dropout=1.0", "models.0.order=9", "models.1.hidden=0", "split.test=many",
     "models.1.training.bptt_grad_len=3", "baseline=nobody", "models.1.vocabulary=klingon", "models.9.hidden=1",
     "nonsense"],
)
def test_a_value_out_of_range_is_refused_before_any_work(override: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("small", [override])
    assert error.value.exit_code == 2


@pytest.mark.parametrize("name", ["ana's", "a/b", "a:b", "a@b", 'a"b', "a\\b", "a\nb", "", "..", " "])
def test_a_model_name_that_mlflow_cannot_look_for_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"promotion\.model_name") as error:
        load_config("small", [f"promotion.model_name={json.dumps(name)}"])
    assert "registered model" in str(error.value)


def test_a_model_name_may_have_spaces_dots_and_letters_of_any_language() -> None:
    for name in ("reviewlm", "Café reviews 2.0", "a_b-c"):
        assert load_config("small", [f"promotion.model_name={json.dumps(name)}"]).promotion.model_name == name


def test_one_seed_reaches_every_part_that_draws_at_random_and_has_none_of_its_own() -> None:
    config = load_config("demo", ["seed=7", "models.2.training.seed=3"])
    seeds = {spec.name: spec.training.seed for spec in config.models if hasattr(spec, "training")}
    assert seeds == {"nplm": 3, "rnn": 7, "gru": 7, "lstm": 7}
    assert (config.evaluation.seed, config.source.synthetic.seed) == (7, 7)


@pytest.mark.parametrize("overrides", [[], ["models.1.hidden=64"], ["models.1.training.clip=2.0"]])
def test_the_seed_reaches_the_models_of_a_preset_that_names_none(tmp_path: Path, overrides: list[str]) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("seed = 7\n")
    ngram, network = load_config(str(mine), overrides).models
    assert (ngram.kind, network.kind) == ("ngram", "lstm")
    assert network.training.seed == 7  # type: ignore[union-attr]
    assert RunConfig(seed=7).models[1].training.seed == 7  # type: ignore[union-attr]


def test_an_unknown_preset_names_the_nearest_and_lists_all() -> None:
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        load_config("smal")


def test_a_preset_extends_another_and_says_only_what_differs(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "demo"\n[source.synthetic]\nreviews = 50\n')
    config, demo = load_config(str(mine)), load_config("demo")
    assert config.source.synthetic.reviews == 50
    assert config.models == demo.models


def test_presets_that_extend_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text(f'extends = "{two}"')
    two.write_text(f'extends = "{one}"')
    with pytest.raises(ConfigError, match="circle"):
        load_config(str(one))


def test_broken_toml_is_named_with_its_file(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = = 3")
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load_config(str(broken))


def test_two_models_may_not_share_a_name() -> None:
    with pytest.raises(ConfigError, match="share the name"):
        load_config("small", ['models.1.name="kn5"'])


@pytest.mark.parametrize("kind", KINDS)
def test_a_spec_survives_json_and_its_identity_ignores_labels(kind: str) -> None:
    from dataclasses import asdict, replace

    needed = {"mixture": {"parts": ("kn5", "lstm")}}  # what has no default
    spec = KINDS[kind][0](kind=kind, **needed.get(kind, {}))
    assert spec_from_dict(asdict(spec)) == spec
    assert identity(replace(spec, name="other", vocabulary="other")) == identity(spec)


def test_a_gated_mixture_without_an_n_gram_model_is_refused_before_any_work() -> None:
    networks = [{"kind": "lstm", "name": "a"}, {"kind": "gru", "name": "b"}]
    mixture = {"kind": "mixture", "name": "m", "parts": ["a", "b"]}
    RunConfig.model_validate({"models": [*networks, {**mixture, "method": "linear"}], "baseline": "a"})
    with pytest.raises(ValueError, match=r"'m' has method 'gated', which needs an n-gram model among its parts"):
        RunConfig.model_validate({"models": [*networks, {**mixture, "method": "gated"}], "baseline": "a"})


def test_a_gated_mixture_may_hold_its_n_gram_model_inside_another_part() -> None:
    models = [
        {"kind": "ngram", "name": "kn"}, {"kind": "cache", "name": "kn+cache", "part": "kn"},
        {"kind": "lstm", "name": "a"}, {"kind": "mixture", "name": "m", "parts": ["kn+cache", "a"], "method": "gated"},
    ]  # fmt: skip
    assert len(RunConfig.model_validate({"models": models, "baseline": "kn"}).models) == 4


@pytest.mark.parametrize("key", ["models.lstm.hidden", "models.5.hidden"])
def test_a_model_in_an_override_is_named_or_numbered(key: str) -> None:
    spec = load_config("demo", [f"{key}=7"]).models[5]
    assert (spec.name, getattr(spec, "hidden", None)) == ("lstm", 7)
    assert load_config("demo", ["models.lstm.training.epochs=2"]).models[5].training.epochs == 2  # type: ignore[union-attr]


def test_a_name_in_an_override_may_hold_signs_and_may_be_that_of_the_kind() -> None:
    mixture = load_config("demo", ["models.kn5+lstm.method=linear"]).models[6]
    assert getattr(mixture, "method", None) == "linear"
    renamed = load_config("demo", ["models.unigram.name=v1.5", "models.v1.5.order=2"]).models[0]
    assert (renamed.name, getattr(renamed, "order", None)) == ("v1.5", 2)


def test_the_models_of_a_preset_that_names_none_have_names_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 3\n")
    assert load_config(str(file), ["models.lstm.hidden=9"]).models[1].hidden == 9  # type: ignore[union-attr]


def test_an_unknown_name_of_a_model_lists_the_names() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("small", ["models.lsmt.hidden=9"])
    assert caught.value.what == "There is no model 'lsmt' among these 3"
    assert "did you mean 'lstm'?" in caught.value.remedy
    assert "kn5, lstm or kn5+lstm" in caught.value.remedy
    with pytest.raises(ConfigError, match="'3' among these 3"):
        load_config("small", ["models.3.hidden=9"])


def test_a_recorded_configuration_is_changed_by_overrides_and_by_nothing_else() -> None:
    config = load_config("demo", ["seed=4", "evaluation.seed=9", "models.lstm.hidden=8"])
    recorded = config.model_dump(mode="json")
    assert change_config(recorded) == config
    other = change_config(recorded, ["models.lstm.hidden=16", "seed=5"])
    assert (other.models[5].hidden, other.models[4]) == (16, load_config("demo", ["seed=5"]).models[4])  # type: ignore[union-attr]
    assert (other.seed, other.evaluation.seed, other.audit.seed, other.source.synthetic.seed) == (5, 9, 5, 5)
    assert recorded == config.model_dump(mode="json")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "embedded corpus"), (["/data/yelp.csv"], "yelp.csv"), (["a.json", "b", "c"], "a.json and 2 more"),
        (["caf\udce9.csv"], "caf\\udce9.csv"),
    ],
)  # fmt: skip
def test_the_data_of_a_run_in_words_can_be_sent_to_a_server_and_shown(inputs: list[str], words: str) -> None:
    config = load_config("demo").with_input(inputs)
    assert config.title == f"demo, {words}"
    assert config.title.encode()
