"""Parse the search space of a sweep: ranges and choices of a model's options, checked before any work.

    128..512        a whole number or a number, as the option requires
    1e-4..1e-2:log  drawn evenly on a logarithmic scale
    128..512:64     in steps of 64
    adamw|sgd       one of these

An option that takes effect only with some choices (`training.momentum`) may be searched together with them. In a trial
where it has no effect, it keeps its default.

Choose the neural model that a command works on: the named one, or the only one in the configuration.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import product
from math import isfinite
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from core.config.run_config import RunConfig
from core.errors import ConfigError
from core.manifest import flat
from models.specs import ModelSpec, NPLMSpec, RecurrentSpec, as_written, inapplicable, without_inapplicable

FIXED = {
    "kind": "it is another model", "name": "it is a label", "vocabulary": "it changes how the text is tokenized",
    "training.seed": "the seed is not an option of the model; `seeds` sets how many seeds the winner is fitted with",
    "training.start": "it sets the initial weights, not the model",
    "vectors": "it sets the initial weights, not the model",
    "training.evaluations": "it must be equal in all trials, which are compared at their evaluations",
}  # fmt: skip
"""Options that cannot be searched, with the reason."""
FORMS = "write LOW..HIGH, LOW..HIGH:log, LOW..HIGH:STEP or A|B|C"
Value = bool | int | float | str


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `step` is None if all numbers between them are allowed."""

    low: float
    high: float
    whole: bool
    log: bool = False
    step: float | None = None

    def ends(self) -> tuple[Value, ...]:
        """Return the two limits, with the type of the option."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Value, ...]

    def ends(self) -> tuple[Value, ...]:
        """Return all values."""
        return self.values


Dimension = Range | Choice


def parse_space(spec: ModelSpec, space: Mapping[str, Any]) -> dict[str, Dimension]:
    """Return the dimensions of a space by the full name of their option.

    Raises:
        ConfigError: The space is empty; an option does not exist (the nearest is named) or cannot be searched; the text
            has no known form; the option would refuse a limit of its range, or takes effect in no trial.
    """
    options = _types_of(spec)
    dimensions = {name: _dimension(spec, options, name, text) for name, text in flat(space).items()}
    if not dimensions:
        raise ConfigError(
            "The sweep has no space to search", where="sweep.space",
            remedy='e.g. --space "hidden=128..512:log training.learning_rate=1e-3..1e-2:log dropout=0..0.5"',
        )
    _require_parts(spec, dimensions)
    return dimensions


def with_options(spec: ModelSpec, values: Mapping[str, Value]) -> ModelSpec:
    """Return the spec with some options changed, e.g. `{"hidden": 256, "training.learning_rate": 4e-3}`.

    An option that has no effect together with the new ones is set to its default.

    Raises:
        ValueError: The options do not fit together.
    """
    return cast(ModelSpec, without_inapplicable(_changed(spec, values)))


def to_write(spec: ModelSpec, values: Mapping[str, Value]) -> dict[str, Any]:
    """Return the settings, by full name, that change the configuration of *spec* to `with_options(spec, values)`."""
    before, after = _values_of(spec), _values_of(with_options(spec, values))
    return {name: value for name, value in after.items() if name in values or value != before[name]}


def _changed(spec: ModelSpec, values: Mapping[str, Value]) -> ModelSpec:
    direct = {name: value for name, value in values.items() if "." not in name}
    sections: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        if "." in name:
            section, _, option = name.partition(".")
            sections.setdefault(section, {})[option] = value
    with as_written():
        below: dict[str, Any] = {name: replace(getattr(spec, name), **inner) for name, inner in sections.items()}
        changes: dict[str, Any] = {**direct, **below}
        return replace(spec, **changes)


def _require_parts(spec: ModelSpec, space: Mapping[str, Dimension]) -> None:
    """Refuse an option that takes effect in no trial.

    Raises:
        ConfigError: Names the option, and the condition under which it would take effect.
    """
    never: dict[str, str] | None = None
    named = {name: each.values for name, each in space.items() if isinstance(each, Choice) and _words(each)}
    for words in product(*named.values()):
        try:
            idle = inapplicable(_changed(spec, dict(zip(named, words, strict=True))))
        except ValueError:  # such a trial fails anyway
            continue
        never = {name: where for name, where in idle.items() if name in space and name in (never or idle)}
        if not never:
            return
    for name, where in (never or {}).items():
        raise ConfigError(
            f"The option '{name}' has no effect in any trial: it only takes effect {where}", where="sweep.space",
            remedy=f"leave it out, or set that in the space or in the model '{spec.name}'",
        )


def _words(choice: Choice) -> bool:
    """Return whether a choice consists of names, or true and false: it may decide which other options take effect."""
    return all(isinstance(value, str | bool) for value in choice.values)


def _values_of(spec: Any, prefix: str = "") -> dict[str, Any]:
    """Return all options by full name, including those of its sections."""
    values: dict[str, Any] = {}
    for entry in fields(spec):
        value, name = getattr(spec, entry.name), f"{prefix}{entry.name}"
        values |= _values_of(value, f"{name}.") if is_dataclass(value) else {name: value}
    return values


def _types_of(spec: Any, prefix: str = "") -> dict[str, Any]:
    """Return the types of all options by full name, including those of its sections."""
    hints = get_type_hints(type(spec))
    options: dict[str, Any] = {}
    for entry in fields(spec):
        value = getattr(spec, entry.name)
        below = _types_of(value, f"{prefix}{entry.name}.") if is_dataclass(value) else None
        options |= {f"{prefix}{entry.name}": hints[entry.name]} if below is None else below
    return options


def _dimension(spec: ModelSpec, options: Mapping[str, Any], name: str, text: Any) -> Dimension:
    where = f"sweep.space, option '{name}'"
    if name not in options:
        what = f"The model '{spec.name}' has no option '{name}'"
        raise ConfigError(what, where="sweep.space", remedy=_near(name, options))
    if name == "embedding" and getattr(spec, "vectors", None):
        raise ConfigError("The option 'embedding' cannot be searched: it is the size of the model's word vectors",
                          where="sweep.space")  # fmt: skip
    if name in FIXED:
        raise ConfigError(f"The option '{name}' cannot be searched: {FIXED[name]}", where="sweep.space")
    if isinstance(text, list | tuple):
        text = "|".join(str(value).lower() if isinstance(value, bool) else str(value) for value in text)
    if not isinstance(text, str) or not text.strip():
        raise ConfigError("A range or choices are needed", where=where, value=text, remedy=FORMS)
    try:
        dimension = _range(options[name], text) if ".." in text else _choice(options[name], text)
        for value in dimension.ends():
            with_options(spec, {name: value})
    except ValueError as error:
        what = f"The space of '{name}' is not valid: {error}"
        raise ConfigError(what, where=where, value=text, remedy=FORMS) from error
    return dimension


def _near(name: str, options: Mapping[str, Any]) -> str:
    """Return a remedy with the nearest option, which the user may have written without its section."""
    free = [option for option in options if option not in FIXED]
    short = {option.rpartition(".")[2]: option for option in reversed(free)}
    if near := difflib.get_close_matches(name, free, n=1) or difflib.get_close_matches(name, list(short), n=1):
        return f"did you mean '{short.get(near[0], near[0])}'?"
    return f"options: {', '.join(free)}"


def _range(kind: Any, text: str) -> Range:
    span, _, how = text.partition(":")
    kinds = _alternatives(kind)
    if not {int, float} & kinds:
        raise ValueError("this option is not a number; list the choices instead")
    whole = float not in kinds
    low, high = (_number(part, whole) for part in span.split("..", 1))
    if not low < high:
        raise ValueError(f"the lower end {low:g} must be below the upper end {high:g}")
    if how.strip() == "log":
        if low <= 0:
            raise ValueError(f"a logarithmic range cannot begin at {low:g}; it must begin above 0")
        return Range(low, high, whole, log=True)
    step = _number(how, whole) if how.strip() else None
    if step is not None and not 0 < step <= high - low:
        raise ValueError(f"the step {step:g} must be above 0 and no larger than the range")
    return Range(low, high, whole, step=step)


def _number(text: str, whole: bool) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is not a number") from None
    if not isfinite(value):
        raise ValueError(f"{text.strip()!r} is not a finite number")
    if whole and not value.is_integer():
        raise ValueError(f"{text.strip()!r} is not a whole number, as this option is")
    return value


def _choice(kind: Any, text: str) -> Choice:
    values = tuple(_value(_alternatives(kind), part.strip()) for part in text.split("|"))
    if len(set(values)) < 2:
        raise ValueError("at least two different choices are needed")
    if len(set(values)) < len(values):
        raise ValueError("a choice is listed twice")
    return Choice(values)


def _value(kinds: set[Any], text: str) -> Value:
    """Return one choice with the type of its option."""
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    allowed = words or (["true", "false"] if bool in kinds else [])
    if text in allowed:
        return text if text in words else text == "true"
    if {int, float} & kinds:
        whole = float not in kinds
        return int(_number(text, True)) if whole else _number(text, False)
    if not allowed:
        raise ValueError("this option is a list, which cannot be searched")
    near = difflib.get_close_matches(text, allowed, n=1)
    raise ValueError(f"{text!r} is not one of {', '.join(allowed)}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _alternatives(kind: Any) -> set[Any]:
    """Return the types that an option may have: `float | None` has two."""
    return set(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else {kind}


def chosen_model(config: RunConfig, name: str, where: str = "--model") -> tuple[int, RecurrentSpec | NPLMSpec]:
    """Return position and options of the neural model with this name; without a name, of the only one.

    Args:
        name: "" for none.
        where: The option that gave the name, for messages.

    Raises:
        ConfigError: There is no such model, it is not trained by gradients, or a name is needed.
    """
    neural = {m.name: (at, m) for at, m in enumerate(config.models) if isinstance(m, RecurrentSpec | NPLMSpec)}
    if name in neural:
        return neural[name]
    if not neural:
        raise ConfigError("The configuration has no neural model", where="models", remedy="add one, or another preset")
    if not name and len(neural) == 1:
        return next(iter(neural.values()))
    remedy = f"one of {', '.join(neural)}"
    if not name:
        raise ConfigError("There are several neural models", where=where, remedy=remedy)
    if any(spec.name == name for spec in config.models):
        raise ConfigError(f"'{name}' is not trained by gradients", where=where, remedy=remedy)
    near = difflib.get_close_matches(name, neural, n=1)
    meant = f"did you mean '{near[0]}'?" if near else remedy
    raise ConfigError("There is no such model in the configuration", where=where, value=name, remedy=meant)


def with_only(config: RunConfig, spec: ModelSpec) -> RunConfig:
    """Return the configuration with only this model, so that only its inputs are prepared."""
    return config.model_copy(update={"models": (spec,), "baseline": spec.name})
