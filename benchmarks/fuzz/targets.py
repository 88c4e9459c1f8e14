"""What is fuzzed: how a case is made from random numbers, and what must hold when it is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.fuzz import input_files, model_files, settings, stored_files
from core.errors import ReviewLMError
from models.base import ModelError

OURS = (ReviewLMError, ModelError)
"""All that may come of a case besides success."""


class Target(NamedTuple):
    """*make* writes a case into an empty folder; *check* reads it, and returns what must be the same in every run."""

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
    "replay": Target(stored_files.make_replay, stored_files.check_replay),
}
WEIGHTS = {"input": 6, "settings": 2, "bundle": 2}
"""How often a target is drawn, 1 where nothing is said."""


def make_case(target: str, seed: int, folder: Path) -> None:
    """Write the case of a seed into a folder, which is emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    TARGETS[target].make(Random(f"{target} {seed}"), folder)


def outcome(target: str, case: Path, work: Path) -> str:
    """Return what came of a case: "read …", or "refused …" with the class of our error; any other error is raised."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        return f"read {TARGETS[target].check(case, work)}"
    except OURS as error:
        said = str(error)  # an error that cannot be shown is a fault too
        assert said.strip(), "an error without a word"
        return f"refused {type(error).__name__}"
