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
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..base import ModelError, sha256_of, translate_read_errors
from ..threads import require_threads
from ..tokens.vocabulary import FILE, Vocabulary

FORMAT = 1
SPEC = "spec.json"
PROBE_TOLERANCE = 1e-3
"""Relative tolerance. Rounding differs between machines (bf16 keeps 8 bits); a changed rule changes more."""
Version = Annotated[int, Field(ge=1, lt=2**31)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    plain = name.isprintable() and "\\" not in name
    if not (plain and path.parts and not path.is_absolute() and ".." not in path.parts):
        raise ValueError("the name of a file inside the bundle is needed")
    return name


class Description(BaseModel):
    """The fields of `spec.json` that each bundle has. All others are facts about its training."""

    model_config = ConfigDict(extra="allow", strict=True)
    versions: ClassVar[Mapping[str, int]] = {"format": FORMAT}
    """Fields that are version numbers, with the newest that this version of the package reads."""

    format: Version
    kind: str
    spec: dict[str, Any]
    vocabulary_digest: str
    files: dict[Annotated[str, AfterValidator(_inside)], str]

    @classmethod
    def of(cls, values: Any, kinds: Collection[str]) -> Self:
        """Check the values of a description; raise ValueError that names the field, unless they are of a known kind."""
        try:
            described = cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "it"
            raise ValueError(f"{place!r} is not valid: {first['msg']}") from None

        kind = described.kind
        inner = described.spec.get("kind")
        if kind not in kinds:
            raise ValueError(f"it is of kind {kind[:40]!r}; known: {', '.join(kinds)}")
        if kind != inner:
            raise ValueError(f"it is of kind {kind!r}, its options of kind {str(inner)[:40]!r}")

        return described

    @property
    def facts(self) -> dict[str, Any]:
        """The facts about its training."""
        return dict(self.model_extra or {})


Described = TypeVar("Described", bound=Description)


class OpenedBundle(NamedTuple):
    """A model that was opened: its options, vocabulary, itself, the facts, the SHA-256 of the description."""

    spec: Any
    vocabulary: Vocabulary
    model: Any
    facts: dict[str, Any]
    digest: str


def write_model(
    folder: Path | str, vocabulary: Vocabulary, model: Any, values: Mapping[str, Any]
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
    values = {**values, "format": FORMAT, "vocabulary_digest": vocabulary.digest, "files": digests}
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)
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
        spec, vocabulary, model, described.facts, hashlib.sha256(raw).hexdigest()
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


def verify_bundle(folder: Path) -> None:
    """Compare the files of a bundle with the SHA-256 in its description, without opening it.

    Raises:
        ModelError: kind "bundle": the description cannot be read, or a file is missing or damaged.
    """
    with translate_read_errors(f"{folder} is not a bundle: {SPEC}"):
        values = json.loads((folder / SPEC).read_bytes())
        described = Description.of(values, [str(values.get("kind"))])

    verify_files(folder, {FILE: "", **described.files})


def verify_files(folder: Path, files: Mapping[str, str]) -> None:
    """Compare files with their SHA-256.

    Raises:
        ModelError: kind "bundle": a file is missing or damaged.
    """
    with translate_read_errors(f"a file of bundle {folder}"):
        for name, expected in files.items():
            path = folder / name
            if not path.is_file():
                raise ModelError(f"the bundle {folder} lacks its file {name}", "bundle")
            actual = sha256_of(path)
            if actual != expected:
                raise ModelError(
                    f"the file {name} of bundle {folder} is damaged: its SHA-256 is {actual} instead of {expected}",
                    "bundle",
                )
