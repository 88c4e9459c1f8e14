"""Describe a bundle in JSON, and compare its files with their SHA-256 without opening it: numpy is not needed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..base import VOCABULARY_FILE, ModelError, sha256_of, translate_read_errors

FORMAT = 1
SPEC = "spec.json"
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


def verify_bundle(folder: Path) -> None:
    """Compare the files of a bundle with the SHA-256 in its description, without opening it.

    Raises:
        ModelError: kind "bundle": the description cannot be read, or a file is missing or damaged.
    """
    with translate_read_errors(f"{folder} is not a bundle: {SPEC}"):
        values = json.loads((folder / SPEC).read_bytes())
        described = Description.of(values, [str(values.get("kind"))])

    verify_files(folder, {VOCABULARY_FILE: "", **described.files})


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
