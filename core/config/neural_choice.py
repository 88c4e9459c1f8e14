"""Choose the neural model that a command works on: the named one, or the only one in the configuration."""

from __future__ import annotations

import difflib

from core.config.run_config import RunConfig
from core.errors import ConfigError
from models.specs import ModelSpec, NPLMSpec, RecurrentSpec


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
