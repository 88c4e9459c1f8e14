"""List the fuzz targets: functions that make a case from random numbers, and functions that read and check it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.fuzz import input_files, model_files, settings, stored_files
from reviewlm.core.errors import ReviewLMError
from reviewlm.models.base import ModelError

OURS = (ReviewLMError, ModelError)
"""Errors that a case may raise."""
WEIGHTS = {
    "input": 6,
    "settings": 2,
    "bundle": 2,
}
"""Relative frequency of targets; 1 for targets that are not listed."""


class Target(NamedTuple):
    """Fuzz target: *make* writes a case into an empty folder; *check* reads it and returns a reproducible text."""

    make: Callable[[Random, Path], None]
    check: Callable[[Path, Path], str]


TARGETS = {
    "input": Target(input_files.make, input_files.check),
    "business": Target(input_files.make_business, input_files.check_business),
    "settings": Target(settings.make, settings.check),
    "bundle": Target(model_files.make_bundle, model_files.check_bundle),
    "lines": Target(model_files.make_lines, model_files.check_lines),
    "arpa": Target(model_files.make_arpa, model_files.check_arpa),
    "manifest": Target(stored_files.make_manifest, stored_files.check_manifest),
}


def make_case(
    target: str,
    seed: int,
    folder: Path,
) -> None:
    """Write the case of a seed into a folder, after emptying it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    TARGETS[target].make(Random(f"{target} {seed}"), folder)


def outcome(
    target: str,
    case: Path,
    work: Path,
) -> str:
    """Return the outcome of a case: "read …", or "refused …" with the class of our error; raise any other error."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        return f"read {TARGETS[target].check(case, work)}"
    except OURS as error:
        said = str(error)  # an error that cannot be shown as text is also a fault
        assert said.strip(), "an error without a word"
        return f"refused {type(error).__name__}"
