"""Return the command line that reproduces a configuration, for reports to show to their readers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.config.presets import load_config
from core.config.run_config import RunConfig
from core.errors import ConfigError
from models.options import NONE

APART = {"preset", "execution", "serving", "upkeep"}
"""Parts of a configuration that change no result: where and how to run and to serve."""


def command_line(config: RunConfig, verb: str = "run") -> str | None:
    """Return `reviewlm run --preset … --input … --set …` for a configuration, without those sections.

    Returns:
        The command line, or None if there is none: the preset does not exist any more, or a change cannot be written as
            single values (e.g. one model fewer).
    """
    try:
        overrides = _overrides(config)
        again = load_config(config.preset, overrides)
    except ConfigError:
        return None
    if _identity(again.with_input(config.source.input)) != _identity(config):
        return None
    words = ["reviewlm", verb, "--preset", config.preset]
    words += [word for path in config.source.input for word in ("--input", path)]
    words += [word for override in overrides for word in ("--set", override)]
    return shlex.join(words)


def _identity(config: RunConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude=APART)


def _overrides(config: RunConfig) -> list[str]:
    """Return the settings that differ between a configuration and its preset, as `key=value`."""
    preset, wanted = (_identity(one) for one in (load_config(config.preset).with_input(config.source.input), config))
    wanted["source"]["input"] = preset["source"]["input"]
    changes = _changes(preset, wanted, "")
    return [f"{key}={NONE if value is None else json.dumps(value, ensure_ascii=False)}" for key, value in changes]


def _changes(before: Any, after: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with the changed values; a value whose parts cannot be set separately is yielded whole."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name, value in after.items():
            yield from _changes(before.get(name), value, f"{key}.{name}" if key else name)
    elif _listed(before) and _listed(after) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _changes(old, new, f"{key}.{number}")
    elif before != after:
        yield key, after


def _listed(value: Any) -> bool:
    """Return whether a value is a list of sections, whose entries are set one by one."""
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(v, Mapping) for v in value)
