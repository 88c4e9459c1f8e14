"""Translate renamed options of models where a user writes settings: presets, `--set` and the space of a sweep.

The table of old names are the aliases of the options (`models/neural/spec.py`, `models/neural/training/spec.py`).
Recorded configurations and stored models are read under either name without a word.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import ConfigError
from models.options import old_names
from models.specs import RecurrentSpec, TrainingSpec

log = logging.getLogger(__name__)
OLD = old_names(RecurrentSpec) | {
    f"training.{old}": f"training.{name}" for old, name in old_names(TrainingSpec).items()
}
OLD_CHOICES = {"stream": "true", "review": "false", "own": "reference"}
"""The old choices of `training.stateful` and `cells` in the space of a sweep, and those of today."""


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
        for old, name in OLD.items():
            section, _, option = old.rpartition(".")
            holder = model.get(section) if section and isinstance(model, dict) else model
            if not isinstance(holder, dict) or option not in holder:
                continue
            new = name.rpartition(".")[2]
            if isinstance(where, Path) and new in holder:
                what = f"'{option}' is the old name of '{new}', and the preset sets both"
                raise ConfigError(what, where=where, remedy=f"remove '{option}'")
            holder[new] = holder.pop(option)
            tell(old, where)


def new_name(option: str, where: object = None) -> str:
    """Return today's full name of an option, e.g. `training.bptt_len` for `training.window`."""
    if option not in OLD:
        return option
    tell(option, where)
    return OLD[option]


def tell(old: str, where: object) -> None:
    """Log one line about an old name, if it is known where the user wrote it."""
    if where is not None:
        log.warning("%s: %s is now called %s; please rename it", where, old, OLD[old])
