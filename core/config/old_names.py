"""Translate renamed options of models where a user writes settings: presets, `--set` and the space of a sweep.

The table of old names are the aliases of the options (`models/neural/training/spec.py`). Recorded configurations and
stored models are read under either name without a word.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import ConfigError
from models.options import old_names
from models.specs import TrainingSpec

log = logging.getLogger(__name__)
OLD = old_names(TrainingSpec)
SECTION = "training"
OLD_CHOICES = {"stream": "true", "review": "false"}
"""The choices of `training.carry` in the space of a sweep, and those of `training.stateful`."""


def rename_options(options: Mapping[str, Any], where: object = None) -> None:
    """Rename the options of all models in a nested dictionary of settings, in place.

    Args:
        options: Settings as a preset or a record has them.
        where: File or option that has the settings, for one line about each old name; None says nothing.

    Raises:
        ConfigError: A file has both names of one option.
    """
    models = options.get("models")
    for model in models if isinstance(models, list) else []:
        section = model.get(SECTION) if isinstance(model, dict) else None
        if not isinstance(section, dict):
            continue
        for old in OLD.keys() & section.keys():
            if isinstance(where, Path) and OLD[old] in section:
                what = f"'{old}' is the old name of '{OLD[old]}', and the preset sets both"
                raise ConfigError(what, where=where, remedy=f"remove '{old}'")
            section[OLD[old]] = section.pop(old)
            tell(old, where)


def new_name(option: str, where: object = None) -> str:
    """Return today's full name of an option, e.g. `training.bptt_len` for `training.window`."""
    section, _, name = option.rpartition(".")
    if section != SECTION or name not in OLD:
        return option
    tell(name, where)
    return f"{section}.{OLD[name]}"


def tell(old: str, where: object) -> None:
    """Log one line about an old name, if it is known where the user wrote it."""
    if where is not None:
        log.warning("%s: %s.%s is now called %s.%s; please rename it", where, SECTION, old, SECTION, OLD[old])
