"""Lines of one check of `reviewlm doctor`."""

from __future__ import annotations

from core.config.presets import load_config
from reviewlm.doctor import CHECKS, HealthLine, examine


def lines(name: str, *overrides: str) -> list[HealthLine]:
    return examine(load_config("small", list(overrides)), {name: CHECKS[name]})


def only(name: str, *overrides: str) -> HealthLine:
    [line] = lines(name, *overrides)
    return line
