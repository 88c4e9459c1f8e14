"""Save and load word vectors as a bundle: the folder of `WordVectors`, and `spec.json` with options and SHA-256.

`spec.json` is written last and lists the SHA-256 of every other file, so its own hash identifies the whole bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..base import ModelError
from ..bundles.bundle import SPEC
from ..bundles.bundle_form import are_files, is_text, is_version, require_fields
from ..bundles.sealed_folder import read_description, seal, verify_files
from .spec import DEFAULT_RATES
from .word_vectors import ARRAYS, HEADER, WordVectors

FORMAT = 1
TASK = "vectors"
"""Value of "task" in the description, which tells the bundle from that of another family of models."""


@dataclass(frozen=True)
class VectorsBundle:
    """Word vectors with what is known about them.

    Args:
        vectors: The vectors.
        spec: Name, vocabulary and options.
        digest: SHA-256 that identifies all files.
    """

    vectors: WordVectors
    spec: Mapping[str, Any]
    digest: str


def save_vectors(folder: Path, vectors: WordVectors, spec: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write a bundle; files of the same names in the folder are replaced.

    Args:
        folder: Folder of the bundle; created if missing.
        spec: JSON values: name, vocabulary and options; "kind" is the kind of vectors.
        facts: Further JSON values to record.

    Raises:
        ModelError: kind "diverged": an output vector has a number that is not finite.
    """
    _require_finite(vectors, "diverged")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC).unlink(missing_ok=True)
    vectors.save(folder)
    told = {"format": FORMAT, "task": TASK, "kind": spec["kind"], "spec": dict(spec), "examples": examples(vectors)}
    seal(folder, SPEC, {**facts, **told})


def examples(vectors: WordVectors) -> list[str]:
    """Return two words, or the only one, that can be looked up: the first ones of letters, if there are any."""
    return sorted(vectors.words, key=lambda word: not word.strip().isalpha())[:2]


def load_vectors(folder: Path) -> VectorsBundle:
    """Open a bundle.

    Raises:
        ModelError: kind "bundle": the folder is not a bundle of word vectors, it is newer than this version, or
            damaged.
    """
    raw, values = read_description(folder, SPEC, {"format": FORMAT}, _require_form)
    verify_files(folder, {HEADER: "", ARRAYS: "", **values["files"]})
    vectors = WordVectors.load(folder)
    _require_finite(vectors, "bundle")
    return VectorsBundle(vectors, values["spec"], hashlib.sha256(raw).hexdigest())


def _require_finite(vectors: WordVectors, kind: str) -> None:
    """Refuse output vectors that are not finite; `WordVectors` refuses such input vectors."""
    if vectors.output_ND is not None and not np.isfinite(vectors.output_ND).all():
        raise ModelError("an output vector has a number that is not finite", kind)


_FIELDS = {
    "format": (is_version, "a whole number from 1 on"),
    "task": (lambda task: task == TASK, f"{TASK!r}; bundles of other models have another or none"),
    "kind": (is_text, "text"),
    "spec": (lambda spec: isinstance(spec, dict), "an object: name, vocabulary and options"),
    "files": (are_files, "an object: names of files inside the bundle, each with its SHA-256"),
}


def _require_form(values: Any) -> None:
    require_fields(values, _FIELDS, tuple(DEFAULT_RATES))
