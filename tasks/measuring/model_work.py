"""Describe one work with a model, for the process that does it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.bundles.bundle import Bundle

Report = Callable[[int], None]
"""Gets how much is done."""
Function = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class ModelWork:
    """One work with one model.

    Args:
        function: Top-level function of a module without Prefect, which would double the memory of a process. It gets
            the bundle, a `Report`, *folder* and *options*, and returns JSON values: equal ones in any process.
        name: Name in messages.
        model: Folder of the bundle.
        folder: Folder for the files that are made.
        options: JSON values.
    """

    function: Function
    name: str
    model: Path
    folder: Path
    options: Mapping[str, Any]

    def __call__(self, bundle: Bundle, report: Report) -> dict[str, Any]:
        """Do the work with the opened bundle; return the facts."""
        return self.function(bundle, report, self.folder, **self.options)

    def to_json(self) -> str:
        """Return the work as one line of JSON for `from_json`."""
        function = [self.function.__module__, self.function.__name__]
        return json.dumps([*function, self.name, str(self.model), str(self.folder), dict(self.options)])

    @classmethod
    def from_json(cls, text: str) -> ModelWork:
        """Read the work that `to_json` wrote."""
        module, function, name, model, folder, options = json.loads(text)
        return cls(getattr(importlib.import_module(module), function), name, Path(model), Path(folder), options)


def only_opened(bundle: Bundle, report: Report, folder: Path) -> dict[str, Any]:
    """Do nothing with the bundle: that it opened has checked its files and probe texts."""
    return {}
