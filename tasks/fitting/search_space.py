"""Parse the search space of a sweep into Optuna's distributions, checked before any work.

    128..512        a whole number or a number, as the option requires
    1e-4..1e-2:log  drawn evenly on a logarithmic scale
    128..512:64     in steps of 64
    adamw|sgd       one of these

An option that takes effect only with some choices (`training.momentum`) may be searched together with them. In a trial
where it has no effect, it keeps its default.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from reviewlm.core.errors import ConfigError, InputError
from reviewlm.core.manifest import flat
from reviewlm.models.specs import (
    ModelSpec,
    NPLMSpec,
    RecurrentSpec,
    as_written,
    to_dict,
    without_inapplicable,
)

FIXED = (
    "kind",
    "name",
    "vocabulary",
    "vectors",
    "training.seed",
    "training.start",
    "training.evaluations",
)
"""Options that are no property of the network, or must be equal in all trials to compare them."""
FORMS = "write LOW..HIGH, LOW..HIGH:log, LOW..HIGH:STEP or A|B|C"
Space = dict[str, BaseDistribution]


def parse_space(spec: ModelSpec, space: Mapping[str, Any]) -> Space:
    """Return the distribution of each searched option by its full name.

    Raises:
        ConfigError: The space is empty; an option does not exist (the nearest is named) or cannot be searched; the text
            has no known form, or a value that the option refuses.
    """
    if not space:
        raise ConfigError(
            "The sweep has no space to search",
            where="sweep.space",
            remedy='e.g. --space "hidden=128..512:log training.learning_rate=1e-3..1e-2:log dropout=0..0.5"',
        )

    fixed = (
        *FIXED,
        *(["embedding"] if getattr(spec, "vectors", None) else []),
    )  # the size of the vectors
    options = [name for name in flat(to_dict(spec)) if name not in fixed]
    distributions = Space()
    for name, text in flat(space).items():
        if name not in options:
            short = {option.rpartition(".")[2]: option for option in reversed(options)}
            near = difflib.get_close_matches(name, [*options, *short], n=1)
            raise ConfigError(
                f"'{name}' is no option of '{spec.name}' that can be searched",
                where="sweep.space",
                remedy=f"did you mean '{short.get(near[0], near[0])}'?"
                if near
                else f"one of {', '.join(options)}",
            )
        try:
            distributions[name] = _distribution(spec, name, text)
        except ValueError as error:
            raise ConfigError(
                f"The space of '{name}' is not valid: {error}",
                where="sweep.space",
                value=text,
                remedy=FORMS,
            ) from error

    return distributions


def with_options(spec: ModelSpec, values: Mapping[str, Any]) -> ModelSpec:
    """Return the spec with some options changed, e.g. `{"hidden": 256, "training.learning_rate": 4e-3}`.

    An option that has no effect together with the new ones is set to its default.

    Raises:
        InputError: The options do not fit together.
    """
    try:
        with as_written():
            return cast(ModelSpec, without_inapplicable(_apply_values(spec, values)))
    except ValueError as error:
        raise InputError(f"The options cannot be combined: {error}") from error


def to_write(spec: ModelSpec, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, by full name, that change the configuration of *spec* to `with_options(spec, values)`."""
    before = flat(to_dict(spec))
    after = flat(to_dict(with_options(spec, values)))
    return {name: value for name, value in after.items() if name in values or value != before[name]}


def _apply_values(spec: Any, values: Mapping[str, Any]) -> Any:
    for name, value in values.items():
        section, _, option = name.rpartition(".")
        changes = {option: value}
        spec = replace(
            spec, **({section: replace(getattr(spec, section), **changes)} if section else changes)
        )
    return spec


def _distribution(
    spec: ModelSpec,
    name: str,
    text: Any,
) -> BaseDistribution:
    """Return the distribution that a text describes; its values have the type of the option, which checks them.

    Raises:
        ValueError: The text has no known form, or the option refuses a value.
    """

    def read(word: str) -> Any:
        with as_written():
            return flat(to_dict(_apply_values(spec, {name: word.strip()})))[name]

    if isinstance(text, list):
        words = [str(word).lower() for word in text]
    else:
        words = str(text).split("|")

    if len(words) > 1:
        values = [read(word) for word in words]
        if len(set(values)) < len(values):
            raise ValueError("a choice is listed twice")
        return CategoricalDistribution(values)

    ends, _, how = words[0].partition(":")
    lowest, dots, highest = ends.partition("..")
    if not dots:
        raise ValueError("a range or several choices are needed")

    low = read(lowest)
    high = read(highest)
    log = how == "log"
    step = None if how in ("", "log") else how
    if type(low) is int:
        return IntDistribution(low, high, log, int(step or 1))
    if type(low) is not float:
        raise ValueError("the option is not a number; list the choices instead")
    if step is not None and not isfinite(float(step)):
        raise ValueError("the step must be a finite number")

    return FloatDistribution(low, high, log, None if step is None else float(step))


def chosen_model(models: Sequence[ModelSpec], name: str) -> tuple[int, RecurrentSpec | NPLMSpec]:
    """Return position and options of the neural model with this name; with "", of the only one.

    Raises:
        ConfigError: There is no such neural model, or a name is needed.
    """
    neural = {}
    for at, m in enumerate(models):
        if isinstance(m, RecurrentSpec | NPLMSpec):
            neural[m.name] = (at, m)

    if not name and len(neural) == 1:
        return next(iter(neural.values()))
    if name in neural:
        return neural[name]

    near = difflib.get_close_matches(name, neural, n=1)
    remedy = "add one"
    if near:
        remedy = f"did you mean '{near[0]}'?"
    elif neural:
        remedy = f"one of {', '.join(neural)}"

    raise ConfigError(
        "The name of a neural model of the configuration is needed",
        where="sweep.model",
        value=name or None,
        remedy=remedy,
    )
