"""The one typed configuration: sections, presets, overrides, and what of it counts for a digest.

A preset is a TOML file in `config/` that says only what differs from the preset it `extends` (or from the defaults
below). `--set models.1.hidden=650` overrides single values. Unknown keys are errors that name the nearest valid one.
"""

from __future__ import annotations

import copy
import difflib
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from models.specs import ModelSpec, NGramSpec, RecurrentSpec, VocabularySpec
from reviewlm.environment import home_folder
from reviewlm.errors import ConfigError

PRESETS = Path(__file__).resolve().parent.parent / "config"
Stage = Literal[
    "synthesise", "ingest", "check", "prepare", "vocabulary", "tokens", "fit", "score", "samples", "floor"
]
Stars = Annotated[int, Field(ge=0, le=5)]
Seed = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Base of all sections: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SyntheticConfig(Section):
    """The embedded corpus, used where no input is given."""

    reviews: Annotated[int, Field(ge=1)] = 20_000
    seed: Seed = 1
    malformed: Annotated[float, Field(ge=0, le=0.5)] = 0.001
    duplicates: Annotated[float, Field(ge=0, le=0.5)] = 0.005


class SourceConfig(Section):
    """Where reviews come from: files, folders or globs; none means the embedded corpus."""

    input: tuple[str, ...] = ()
    synthetic: SyntheticConfig = SyntheticConfig()
    max_chars: Annotated[int, Field(ge=1)] = 100_000
    part_rows: Annotated[int, Field(ge=1)] = 100_000


class CleanConfig(Section):
    """The normal form of a text; it travels with every model."""

    unescape_entities: bool = True
    mask_personal_data: bool = True


class ChecksConfig(Section):
    """Limits of the expectations in `data_checks`."""

    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.05
    min_stars_known: Annotated[float, Field(ge=0, le=1)] = 0.99
    max_unknown_tokens: Annotated[float, Field(ge=0, le=1)] = 0.2
    earliest: str = "2004-01-01"

    @field_validator("earliest")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        return date.fromisoformat(value).isoformat()


class SplitConfig(Section):
    """Shares of the frozen split; changing the salt draws another one."""

    salt: str = "reviewlm"
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1


class EvaluationConfig(Section):
    """What is measured of a model, and the samples drawn from it."""

    resamples: Annotated[int, Field(ge=100)] = 10_000
    usefulness_reviews: Annotated[int, Field(ge=1)] = 100
    sample_stars: tuple[Stars, ...] = (1, 3, 5)
    samples_per_star: Annotated[int, Field(ge=1)] = 2
    temperature: Annotated[float, Field(gt=0)] = 0.8
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Annotated[int, Field(ge=1)] = 200
    prompts: tuple[str, ...] = ("The food was", "I will never", "The staff")
    suggestions: Annotated[int, Field(ge=1)] = 5
    seed: Seed = 1


class PromotionConfig(Section):
    """The gate's policy: a challenger must beat the champion on the same frozen test reviews, in bits per byte.

    `allow_other_reading` lets a challenger pass that models less of the text than the champion (it folds case, or the
    section `clean` has changed), for which the figures do not charge it.
    """

    model_name: str = "reviewlm"
    min_relative_gain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_gain_over_baseline: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_slice_loss: Annotated[float, Field(ge=0)] = 0.05
    min_test_reviews: Annotated[int, Field(ge=1)] = 30
    allow_other_reading: bool = False


class ExecutionConfig(Section):
    """How and where to run. Part of no digest: it must not change a result beyond rounding.

    `workers` fits run side by side, each with `threads` threads (0: the cores shared out among the workers).
    """

    home: str = ".reviewlm"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[int, Field(ge=1)] = 1
    threads: Annotated[int, Field(ge=0)] = 0
    tracking_uri: str = ""
    experiment: str = "reviewlm"
    rebuild: tuple[Stage, ...] = ()


class RunConfig(Section):
    """Everything that a run of the pipeline depends on."""

    preset: str = "small"
    seed: Seed = 1
    source: SourceConfig = SourceConfig()
    clean: CleanConfig = CleanConfig()
    checks: ChecksConfig = ChecksConfig()
    split: SplitConfig = SplitConfig()
    vocabulary: dict[str, VocabularySpec] = {"word": VocabularySpec()}
    models: tuple[Annotated[ModelSpec, Field(discriminator="kind")], ...] = (NGramSpec(), RecurrentSpec())
    baseline: str = "kn5"
    evaluation: EvaluationConfig = EvaluationConfig()
    promotion: PromotionConfig = PromotionConfig()
    execution: ExecutionConfig = ExecutionConfig()

    @model_validator(mode="before")
    @classmethod
    def _one_seed_for_all(cls, options: Any) -> Any:
        """Hand `seed` down to every part that draws at random and has no seed of its own."""
        if not isinstance(options, dict) or "seed" not in options:
            return options
        options = copy.deepcopy(options)
        sections = [_below(options, "source", "synthetic"), _below(options, "evaluation")]
        specs = options.get("models")
        for spec in specs if isinstance(specs, list) else []:
            if isinstance(spec, dict) and spec.get("kind") != "ngram":
                sections.append(_below(spec, "training"))
        for section in sections:
            section.setdefault("seed", options["seed"])
        return options

    @model_validator(mode="after")
    def _names_fit_together(self) -> RunConfig:
        names = [spec.name for spec in self.models]
        if not names:
            raise ValueError("models is empty; at least one is needed")
        if duplicate := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two models share the name {duplicate.pop()!r}")
        if self.baseline not in names:
            raise ValueError(f"baseline is {self.baseline!r}; it must be one of the models {names}")
        for spec in self.models:
            if spec.vocabulary not in self.vocabulary:
                known = list(self.vocabulary)
                raise ValueError(f"model {spec.name!r} wants vocabulary {spec.vocabulary!r}; there are {known}")
        return self

    @property
    def home(self) -> Path:
        """The folder of store, tracking database and Prefect's state; `REVIEWLM_HOME` wins over the setting."""
        return home_folder(self.execution.home)


def _below(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return a section, made where it is missing; a throw-away one where something else is in its place."""
    for name in names:
        found = options.setdefault(name, {})
        options = found if isinstance(found, dict) else {}
    return options


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the project."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_config(preset: str = "small", overrides: tuple[str, ...] | list[str] = ()) -> RunConfig:
    """Read a preset (a name, or the path of a TOML file) and apply `key=value` overrides.

    Raises:
        ConfigError: Unknown preset or key, wrong type, value out of range.
    """
    options = _read_preset(preset, seen=())
    for override in overrides:
        _apply(options, override)
    options["preset"] = preset
    return parse_config(options)


def parse_config(options: dict[str, Any]) -> RunConfig:
    """Validate a nested dictionary.

    Raises:
        ConfigError: Names the key, the value, what is allowed and the nearest valid key.
    """
    try:
        return RunConfig.model_validate(options)
    except ValidationError as error:
        raise _explain(error) from error


def _read_preset(preset: str, seen: tuple[str, ...]) -> dict[str, Any]:
    path = Path(preset) if preset.endswith(".toml") else PRESETS / f"{preset}.toml"
    if not path.is_file():
        near = difflib.get_close_matches(preset, preset_names(), n=1)
        remedy = f"did you mean '{near[0]}'? " if near else ""
        remedy += f"presets: {', '.join(preset_names())}, or the path of a TOML file"
        raise ConfigError(f"There is no preset '{preset}'", where=path, remedy=remedy)
    if preset in seen:
        raise ConfigError("Presets extend each other in a circle", where=path, value=" → ".join([*seen, preset]))
    try:
        options = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("The preset is not valid TOML", where=path, cause=str(error)) from error
    parent = options.pop("extends", None)
    if parent is not None and not isinstance(parent, str):
        raise ConfigError("`extends` must be the name of a preset", where=path, value=parent)
    return _merge(_read_preset(parent, (*seen, preset)), options) if parent else options


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _apply(options: dict[str, Any], override: str) -> None:
    """Set one dotted key; numbers in it index into lists, e.g. `models.1.hidden=650`."""
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError("An override must look like key=value", where="--set", value=override)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    parts = key.strip().split(".")
    if parts[0] == "models" and "models" not in options:
        options["models"] = [_plain(spec) for spec in RunConfig().models]
    place: Any = options
    for part in parts[:-1]:
        place = _descend(place, part, override)
    if isinstance(place, list):
        place[_index(place, parts[-1], override)] = value
    else:
        place[parts[-1]] = value


def _descend(place: Any, part: str, override: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, override)]
    below = place.setdefault(part, {})
    if not isinstance(below, dict | list):
        raise ConfigError(f"'{part}' is a value, not a section", where="--set", value=override)
    return below


def _index(place: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise ConfigError(
            f"'{part}' is not an index of a list of {len(place)}", where="--set", value=override,
            remedy=f"use a number from 0 to {len(place) - 1}",
        )
    return int(part)


def _plain(spec: ModelSpec) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(spec)


def _explain(error: ValidationError) -> ConfigError:
    """Turn pydantic's first complaint into one of ours; an unknown key gets the nearest valid one."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "configuration"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        key = str(first["loc"][-1])
        near = difflib.get_close_matches(key, sorted(_all_keys()), n=1)
        remedy = f"did you mean '{near[0]}'?" if near else "see config/ for the settings there are"
        return ConfigError(f"Unknown setting '{key}'", where=where, value=first["input"], remedy=remedy)
    message = str(first["msg"]).removeprefix("Value error, ")
    return ConfigError(f"A setting is not valid: {message}", where=where, value=first["input"])


def _all_keys() -> set[str]:
    """Return every key that occurs anywhere in the schema."""
    keys: set[str] = set()

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            keys.update(node.get("properties", {}))
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    collect(RunConfig.model_json_schema())
    return keys
