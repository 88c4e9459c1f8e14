"""Write and open a fitted model as a folder of data: options, vocabulary, weights or tables. No code, no pickles.

The description, in JSON, is written last and lists the SHA-256 of every other file. So a folder with a description is
complete, and its hash identifies all of it. It comes from a registry, a download or the user: every field is checked
before it is used. It also has probe texts with the model's answers, which are computed again when it is opened: a model
whose answers this version of the package computes differently is refused, so that none can change silently.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..base import ModelError, sha256_of, translate_read_errors
from ..threads import require_threads
from ..tokens.vocabulary import FILE, Vocabulary
from .description import FORMAT, SPEC, Described, verify_files

PROBE_TOLERANCE = 1e-3
"""Relative tolerance. Rounding differs between machines (bf16 keeps 8 bits); a changed rule changes more."""


class OpenedBundle(NamedTuple):
    """A model that was opened: its options, vocabulary, itself, the facts, the SHA-256 of the description."""

    spec: Any
    vocabulary: Vocabulary
    model: Any
    facts: dict[str, Any]
    digest: str


def write_model(
    folder: Path | str,
    vocabulary: Vocabulary,
    model: Any,
    values: Mapping[str, Any],
) -> None:
    """Write a model; files of the same names in the folder, which is created if missing, are replaced.

    Args:
        values: Of the description, besides "format", "vocabulary_digest" and "files".
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC).unlink(missing_ok=True)
    vocabulary.save(folder / FILE)
    model.save(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    values = {
        **values,
        "format": FORMAT,
        "vocabulary_digest": vocabulary.digest,
        "files": digests,
    }
    text = json.dumps(
        values,
        sort_keys=True,
        ensure_ascii=False,
        indent=1,
        allow_nan=False,
    )
    (folder / SPEC).write_text(text + "\n", encoding="utf-8")


def open_model(
    folder: Path,
    form: type[Described],
    kinds: Collection[str],
    spec_of: Callable[[dict[str, Any]], Any],
    class_of: Callable[[str], Any],
    device: str,
) -> tuple[OpenedBundle, Described]:
    """Open what `write_model` wrote; its probes are not looked at.

    Args:
        form: What its description must hold.
        kinds: Of the family.
        spec_of: Makes options of their values.
        class_of: Returns the class of a kind, which has the class method `load(...)`.
        device: Device of the model.

    Raises:
        ModelError: kind "bundle": it is not such a bundle, or newer than this version, a file is missing or damaged, or
            its vocabulary is not the one of the training.
    """
    require_threads()
    with translate_read_errors(f"{folder} is not a bundle: {SPEC}"):
        raw = (folder / SPEC).read_bytes()
        values = json.loads(raw)
        for name, ours in form.versions.items():
            if (
                isinstance(values, dict)
                and isinstance(values.get(name), int)
                and values[name] > ours
            ):
                what = f"the bundle {folder} has {name} {str(values[name])[:20]}, newer than this version reads"
                raise ModelError(
                    f"{what}; open it with the version that wrote it, or a later one", "bundle"
                )
        described = form.of(values, kinds)

    verify_files(folder, {FILE: "", **described.files})
    vocabulary = Vocabulary.load(folder / FILE)
    if vocabulary.digest != described.vocabulary_digest:
        what = f"the bundle {folder} was trained with vocabulary {described.vocabulary_digest}"
        raise ModelError(f"{what}, but holds {vocabulary.digest}", "bundle")

    with translate_read_errors(f"the model of bundle {folder}"):
        spec = spec_of(described.spec)
        model = class_of(spec.kind).load(folder, spec, vocabulary, device)

    return OpenedBundle(
        spec,
        vocabulary,
        model,
        described.facts,
        hashlib.sha256(raw).hexdigest(),
    ), described


def compare_probes(
    folder: Path,
    texts: Sequence[str],
    expected: Sequence[Sequence[float]],
    answers: Callable[[], Any],
) -> None:
    """Compare a model's answers to its probes with those of when it was saved, each one a row of numbers.

    Raises:
        ModelError: kind "bundle": they differ, or a text has no answer.
    """
    with translate_read_errors(f"the model of bundle {folder}, asked for its probes,"):
        try:
            rows = answers()
        except ModelError as error:
            raise ModelError(
                f"the bundle {folder} has a probe that cannot be answered: {error}", "bundle"
            ) from error

        for text, before_K, row_K in zip(
            texts, map(np.array, expected), map(np.array, rows), strict=True
        ):
            # Infinitely many nats are near to nothing else.
            near_K = np.where(
                np.isfinite(before_K), PROBE_TOLERANCE * np.maximum(1.0, np.abs(before_K)), -1.0
            )
            with np.errstate(invalid="ignore"):  # infinite minus infinite
                near = before_K.shape == row_K.shape and (row_K == before_K) | (
                    np.abs(row_K - before_K) <= near_K
                )

            if not np.all(near):
                difference = f"{row_K.tolist()} instead of {before_K.tolist()}"
                what = (
                    f"the bundle {folder} answers differently from when it was saved: {difference}"
                )
                raise ModelError(f"{what} for the probe {text[:60]!r}", "bundle")
