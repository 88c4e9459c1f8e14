"""No setting takes a number that ends in a crash later: infinities, 1e20, thousands of digits, deep nesting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel

from core.config.presets import load_config, parse_config
from core.config.run_config import RunConfig
from core.errors import ConfigError
from core.store import canonical
from models.classification.spec import CLASSIFIERS
from models.neural.labelling.spec import LabellingSpec
from models.options import MOST, MOST_WHOLE
from models.specs import KINDS, TrainingSpec, VocabularySpec
from tests.core.config.setting_types import types_in

EXTREME = ["inf", "-inf", "nan", "1e20", "-1e20", "9" * 25, "9" * 5_000, "0x" + "f" * 5_000, "1e400"]


def numeric_settings(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Full names of all settings that are numbers, or rows of numbers."""
    for name, field in section.model_fields.items():
        inside = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
        below = [one for one in inside if issubclass(one, BaseModel)]
        if below:
            yield from numeric_settings(below[0], f"{prefix}{name}.")
        elif {int, float} & types_in(field.annotation):
            yield f"{prefix}{name}"


def numeric_options(spec: type, prefix: str) -> Iterator[str]:
    hints = get_type_hints(spec)
    for entry in fields(spec):
        if is_dataclass(hints[entry.name]):
            yield from numeric_options(hints[entry.name], f"{prefix}{entry.name}.")
        elif {int, float} & types_in(hints[entry.name]):
            yield f"{prefix}{entry.name}"


ENDS_WITH_A_SENTENCE = {"learning_rate", "rates", "clip", "clip_value", "loss_spike_threshold"}
"""Options of training that may be 1e20: its loss is then no number, which is told."""
SETTINGS = list(numeric_settings(RunConfig))
OPTIONS = {kind: list(numeric_options(spec, "models.0.")) for kind, (spec, _) in KINDS.items()}


def test_the_walk_finds_settings_of_every_section():
    assert {"seed", "source.max_expansion", "source.synthetic.reviews", "evaluation.sample_stars"} <= set(SETTINGS)
    assert "models.0.training.learning_rate" in OPTIONS["lstm"]
    assert sum(map(len, OPTIONS.values())) > 100


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_takes_an_extreme_number(setting):
    whole = setting.endswith(("sample_stars", "shares", "copies"))
    for value in EXTREME:
        with pytest.raises(ConfigError):
            load_config("small", [f"{setting}={f'[{value}]' if whole else value}"])


@pytest.mark.parametrize("kind", OPTIONS)
def test_no_option_of_a_model_takes_an_extreme_number(kind):
    for option in OPTIONS[kind]:
        for value in [*EXTREME, *(f"[{value}]" for value in EXTREME)]:
            if option.rpartition(".")[2] in ENDS_WITH_A_SENTENCE and "1e20" in value:
                continue
            with pytest.raises(ConfigError):
                load_config("small", [f'models=[{{kind="{kind}"}}]', f"{option}={value}"])


@pytest.mark.parametrize("option", ["size", "min_count"])
def test_no_option_of_a_vocabulary_takes_an_extreme_number(option):
    for value in EXTREME:
        with pytest.raises(ConfigError):
            load_config("small", [f"vocabulary.word.{option}={value}"])


OF_MODELS = [spec for spec, _ in (*KINDS.values(), *CLASSIFIERS.values())]
SPECS = list(dict.fromkeys([*OF_MODELS, VocabularySpec, TrainingSpec, LabellingSpec]))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.__name__)
def test_options_that_do_not_come_from_a_preset_are_held_to_the_same(spec):
    """A stored model, or Python, gives them as they are: wrong types are a ValueError, never another error."""
    wrong = [None, True, "12", "word", [], [None], {}, {"a": 1}, 1.5, float("nan"), float("inf"), 10**30, -1, object()]
    accepted = 0
    for name in (entry.name for entry in fields(spec)):
        for value in wrong:
            try:
                made = spec(**{name: value})
            except ValueError:
                continue
            accepted += 1
            json.dumps({name: getattr(made, name)}, default=vars)
    assert accepted < len(fields(spec)) * len(wrong) / 2


@pytest.mark.parametrize("made", [f"{MOST_WHOLE + 1}", f"{MOST * 2:g}"])
def test_a_section_of_free_form_is_held_to_the_bounds_too(made):
    with pytest.raises(ConfigError):
        load_config("small", [f"sweep.space.hidden={made}"])


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 5_000 + " = 1", "a = " + "[" * 5_000 + "]" * 5_000, "a = " + "{a=" * 5_000 + "1" + "}" * 5_000,
        "seed = " + "9" * 5_000, "[sweep.space]\na = " + "[" * 200 + "]" * 200, "a = 2024-13-45", "\udcff",
    ],
    ids=["keys", "lists", "tables", "digits", "200 lists", "date", "bytes"],
)
def test_a_preset_that_no_parser_survives_is_a_configuration_error(tmp_path, text):
    preset = tmp_path / "odd.toml"
    preset.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"odd\.toml"):
        load_config(str(preset))


def test_a_preset_may_begin_with_the_mark_of_utf8(tmp_path):
    (tmp_path / "marked.toml").write_bytes(b'\xef\xbb\xbfextends = "small"\nseed = 7\n')
    assert load_config(str(tmp_path / "marked.toml")).seed == 7


@pytest.mark.parametrize(
    "override",
    [
        "sweep.space=" + "[" * 5_000 + "]" * 5_000, "sweep.space=" + "{a=" * 500 + "1" + "}" * 500,
        "a" + ".a" * 5_000 + "=1", "models.²=1", "models." + "9" * 5_000 + ".order=3", "source.input.0.x=1",
        "models.0.kind.x=1", "models.0.fallback.x=1", "=1", ".=1", "seed", "models=3", "models.0=3",
        "source=1", "clean.=",
    ],
)
def test_an_override_that_cannot_be_is_a_configuration_error(override):
    with pytest.raises(ConfigError):
        load_config("small", ['source.input=["a"]', override])


def test_presets_whose_circle_goes_by_ever_longer_paths_are_told(tmp_path):
    (tmp_path / "a.toml").write_text(f'extends = "../{tmp_path.name}/a.toml"')
    with pytest.raises(ConfigError, match="circle"):
        load_config(str(tmp_path / "a.toml"))


@pytest.mark.parametrize("name", ["x" * 5_000, "x" * 300 + ".toml", "a\0b.toml", "/", "..", ""])
def test_a_preset_of_an_impossible_name_is_told(name):
    with pytest.raises(ConfigError):
        load_config(name)


def test_nesting_without_end_is_told_wherever_a_configuration_comes_from():
    nested: Any = {}
    for _ in range(5_000):
        nested = {"a": nested}
    with pytest.raises(ConfigError, match="nested"):
        parse_config({"sweep": {"space": nested}})


def test_what_is_accepted_can_be_written_down():
    for overrides in ([], ["drift.psi_stars=0"], ["seed=2147483647"], ["promotion.max_megabytes=1e12"]):
        config = load_config("small", overrides)
        assert parse_config(json.loads(canonical(config.model_dump(mode="json")))) == config
