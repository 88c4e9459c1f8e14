"""Record how a registered version was made, from raw files to weights, as a chain of hashes stored with the version.

Each stage has a link. It is the SHA-256 of its identity (stage, version, options), of the links of the stages before
it, of the raw files it read, and of the bytes it wrote (a Merkle tree; Merkle 1987). The root is a tag on the version.
A version made again bit by bit has the same root; other bytes, options or raw files give another root.

Name the data a model was trained on: a data family, and a digest of the raw files.

A figure shows how well a model predicts the text it was measured on, and nothing about other text: a model of paint
names needs fewer bits for paint names than any model of reviews does. So a version carries the *family* of its data, a
name from the configuration (`source.family`), and the gate compares only within a family. The digest of the sources
shows whether two versions of a family were made from exactly the same files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.config.sections.source import UNKNOWN
from core.errors import Damaged
from core.manifest import CHECKSUM, canonical, from_json, to_json
from core.store import Artifact

FORMAT = 1
LINEAGE_FILE = "lineage.json"
APART = ("execution", "serving", "upkeep")
"""Sections of the configuration that change no result."""
LINEAGE_TAG = "lineage"
"""Tag of a registered version: the root of its chain."""
PRODUCT = {"fit": "bundle/", "fit-classifier": "bundle/"}
"""Prefix of the files that are a stage's result, if not all of its files are. A fit also writes curves and the load of
the machine next to its bundle. They contain times and speeds, differ from run to run, and are part of no link."""
FITS = tuple(PRODUCT)
"""Stages that fit a model and write its bundle."""


@dataclass(frozen=True)
class RecordedSource:
    """An input from outside: a raw file, businesses, word vectors, or weights.

    Args:
        kind: "file", "business", "vectors", "vocabulary", "weights", or "reviews" for prepared
            data that the weights have learnt from; "unreadable file" if it was set aside, so that it is not needed
            again; "unknown" if the store has no record of it.
        name: Name of the source in the data.
        sha256: SHA-256 of its bytes; of a vocabulary and of prepared data their digest.
        bytes: Its size, 0 if it is not known.
        path: Its path when it was read, "" if it is not known.
    """

    kind: str
    name: str
    sha256: str
    bytes: int = 0
    path: str = ""

    def place(self, store: Path) -> Path:
        """Return its path now: small files were packed into a file of the store, which may have moved with its home."""
        inside = store.joinpath(*Path(self.path).parts[-3:])  # stage/digest/file
        return inside if inside.is_file() else Path(self.path)


@dataclass(frozen=True)
class Step:
    """The artifact of one stage, as described in its manifest.

    Args:
        stage: Name of the stage.
        digest: Digest of the artifact, computed from everything it depends on.
        version: Version of the stage's code.
        options: The stage's own settings.
        inputs: Names to digests, as hashed.
        made_by: Inputs made by another step: names to keys of steps. The other inputs are sources.
        files: Names to `bytes` and `sha256`.
        facts: Single values that the stage recorded about its result; for a fit also the model's whole `spec`.
        seconds: Duration.
        created: Start time, in seconds since 1970.
        environment: Code, libraries, machine, and execution settings.
    """

    stage: str
    digest: str
    version: str
    options: dict[str, Any]
    inputs: dict[str, str]
    made_by: dict[str, str]
    files: dict[str, dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    created: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Stage and digest: the artifact's folder below the store."""
        return f"{self.stage}/{self.digest}"

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file of the result; none depends on the time of the run."""
        place = PRODUCT.get(self.stage, "")
        return {name: entry["sha256"] for name, entry in sorted(self.files.items()) if name.startswith(place)}

    @property
    def content(self) -> str:
        """SHA-256 of the names and hashes of its files: equal bytes give an equal value."""
        return _sha256(self.hashes)

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(entry["bytes"] for entry in self.files.values())


def step_of(artifact: Artifact, made_by: Mapping[str, str], facts: Mapping[str, Any]) -> Step:
    """Return the step of an artifact."""
    content = artifact.manifest
    return Step(
        artifact.stage, artifact.digest, content["version"], dict(content["options"]), dict(content["inputs"]),
        dict(made_by), dict(content["files"]), dict(facts), content.get("seconds", 0.0), content.get("created", 0.0),
        dict(content.get("environment", {})),
    )


@dataclass(frozen=True)
class Lineage:
    """The record of one version: everything needed to make it again, except the raw files themselves.

    Args:
        model: Name of the model.
        kind: Its kind.
        bundle: Digest of its bundle.
        fit: Key of the step that made the bundle.
        configuration: The whole configuration, resolved.
        sources: Inputs from outside.
        steps: Ordered so that each step comes after the steps it depends on.
        folder: Working folder of the run; relative paths of the configuration start there.
    """

    model: str
    kind: str
    bundle: str
    fit: str
    configuration: dict[str, Any]
    sources: tuple[RecordedSource, ...]
    steps: tuple[Step, ...]
    folder: str = ""

    def step(self, key: str) -> Step:
        """Return a step by its key."""
        return next(step for step in self.steps if step.key == key)

    def source(self, sha256: str) -> RecordedSource | None:
        """Return a source by its hash."""
        return next((source for source in self.sources if source.sha256 == sha256), None)

    def label(self, step: Step) -> str:
        """Return a label that distinguishes a step from others of its stage: a file, vocabulary, split or model."""
        if step.stage == "score":
            return self.label(self.step(step.made_by["tokens"])) if "tokens" in step.made_by else ""
        if step.stage == "samples":
            return self.model
        if step.stage == "synthesise":
            return "by the embedded grammar"
        label = step.facts.get("name") or step.options.get("split") or ""
        return label if isinstance(label, str) else ""

    def links(self) -> dict[str, str]:
        """Return the link of every step, by the step's key."""
        digests: dict[str, str] = {}
        for step in self.steps:
            before = {name: digests.get(step.made_by.get(name, ""), value) for name, value in step.inputs.items()}
            about = {"stage": step.stage, "version": step.version, "options": to_json(step.options)}
            digests[step.key] = _sha256({**about, "inputs": before, "files": step.hashes})
        return digests

    @property
    def root(self) -> str:
        """The link of the whole version: of all steps, the hashes of the sources, the bundle, and the configuration.

        The sections `execution`, `serving` and `upkeep`, the working folder, times and durations are not part of it.
        """
        sources = sorted((source.kind, source.name, source.sha256) for source in self.sources)
        chosen = {name: section for name, section in self.configuration.items() if name not in APART}
        about = {"format": FORMAT, "model": self.model, "kind": self.kind, "bundle": self.bundle, "fit": self.fit}
        return _sha256({**about, "links": self.links(), "sources": sources, "configuration": to_json(chosen)})

    def to_json(self) -> str:
        """Return the record as JSON, with a checksum of all of it."""
        values = {"format": FORMAT, "root": self.root, **to_json(asdict(self))}
        return json.dumps({**values, CHECKSUM: _sha256(values)}, indent=1, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, where: str = "") -> Lineage:
        """Read and check a record.

        Raises:
            Damaged: The text is no record, has a newer format, or was changed after it was written.
        """
        try:
            plain = json.loads(text)
            if plain["format"] != FORMAT:
                raise ValueError(f"format {plain['format']}; this version reads {FORMAT}")
            if plain.pop(CHECKSUM) != _sha256(plain):
                raise ValueError("a line was changed: its checksum differs")
            values = json.loads(text, object_hook=from_json)
            for name in ("format", "root", CHECKSUM):
                del values[name]
            sources = tuple(RecordedSource(**source) for source in values.pop("sources"))
            steps = tuple(Step(**step) for step in values.pop("steps"))
            return cls(**values, sources=sources, steps=steps)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(
                "The record of a version's lineage cannot be trusted", where=where, cause=str(error)
            ) from error


def _sha256(value: object) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


FAMILY_TAG, SOURCES_TAG = "family", "family/sources"
"""Tags of a registered version."""


@dataclass(frozen=True)
class Family:
    """The data of a version.

    Args:
        name: Name of the family.
        sources: SHA-256 of the sorted SHA-256 of all raw files; "" if they are not known.
    """

    name: str = UNKNOWN
    sources: str = ""

    @property
    def known(self) -> bool:
        """Whether the family is known."""
        return self.name != UNKNOWN

    def tags(self) -> dict[str, str]:
        """Return the tags of a version with these data."""
        return {FAMILY_TAG: self.name, SOURCES_TAG: self.sources}

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> Family:
        """Return the family in a version's tags; unknown for one that no run registered."""
        return cls(tags.get(FAMILY_TAG) or UNKNOWN, tags.get(SOURCES_TAG, ""))


def digest_of_sources(hashes: Iterable[str]) -> str:
    """Return one digest of a set of raw files from their SHA-256, independent of their order."""
    ordered = sorted(set(hashes))
    return hashlib.sha256("\n".join(ordered).encode()).hexdigest() if ordered else ""


NOT_KNOWN = Family()
