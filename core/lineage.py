"""Record how a registered version was made, from raw files to weights, as a chain of hashes; check and compare it.

Each stage has a link. It is the SHA-256 of its identity (stage, version, options), of the links of the stages before
it, of the raw files it read, and of the bytes it wrote (a Merkle tree; Merkle 1987). The root is a tag on the version.
A version made again bit by bit has the same root; other bytes, options or raw files give another root.

A figure shows how well a model predicts the text it was measured on, and nothing about other text: a model of paint
names needs fewer bits for paint names than any model of reviews does. So a version carries the *family* of its data, a
name from the configuration (`source.family`), and the gate compares only within a family. The digest of the sources
shows whether two versions of a family were made from exactly the same files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from reviewlm.core.config.sections.data import UNKNOWN
from reviewlm.core.errors import ArtifactError, Damaged
from reviewlm.core.home_format import FORMAT
from reviewlm.core.manifest import (
    CHANGED,
    GONE,
    MANIFEST,
    canonical,
    differing_files,
    flat,
    hash_of,
    seal,
    unseal,
)
from reviewlm.core.provenance import made_with

LINEAGE_FILE = "lineage.json"
APART = ("execution", "serving", "upkeep")
"""Sections of the configuration that change no result."""
LINEAGE_TAG = "lineage"
"""Tag of a registered version: the root of its chain."""
FITS = ("fit", "fit-classifier")
"""Stages that fit a model and write its bundle."""
SPEC = "spec.json"
"""File that describes a bundle."""
BUNDLE = "bundle/"
"""Folder of the bundle in the result of a fit. A fit also writes curves and the load of the
machine next to it. They contain times and speeds, differ from run to run, and are part of no link."""
FAMILY_TAG = "family"
SOURCES_TAG = "family/sources"
"""Tags of a registered version."""
FIGURES = {"score": ("open_bits_per_byte", "bits_per_byte", "perplexity"), "predict": ("accuracy",)}
"""Figures among the facts of a stage that measures a model."""
EQUAL = "bit-equal"
CLOSE = "figures agree"
DIFFERENT = "differs"


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
        if inside.is_file():
            return inside
        return Path(self.path)


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
        place = BUNDLE if self.stage in FITS else ""
        return {
            name: entry["sha256"]
            for name, entry in sorted(self.files.items())
            if name.startswith(place)
        }

    @property
    def content(self) -> str:
        """SHA-256 of the names and hashes of its files: equal bytes give an equal value."""
        return hash_of(self.hashes)

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(entry["bytes"] for entry in self.files.values())


def step_of(
    stage: str,
    digest: str,
    manifest: Mapping[str, Any],
    made_by: Mapping[str, str],
    facts: Mapping[str, Any],
) -> Step:
    """Return the step of an artifact, by its stage, its digest and its manifest."""
    names = {one.name for one in fields(Step)} - {"stage", "digest", "facts"}
    recorded = {name: value for name, value in manifest.items() if name in names}
    return Step(
        stage,
        digest,
        made_by=dict(made_by),
        facts=dict(facts),
        **recorded,
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

    def label(self, step: Step) -> str:
        """Return a label that distinguishes a step from others of its stage: a file, vocabulary, split or model."""
        if step.stage == "score":
            if "tokens" in step.made_by:
                return self.label(self.step(step.made_by["tokens"]))
            return ""
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
            before = {
                name: digests.get(step.made_by.get(name, ""), value)
                for name, value in step.inputs.items()
            }
            about = {
                "stage": step.stage,
                "version": step.version,
                "options": step.options,
            }
            digests[step.key] = hash_of(
                {
                    **about,
                    "inputs": before,
                    "files": step.hashes,
                }
            )

        return digests

    @property
    def root(self) -> str:
        """The link of the whole version: of all steps, the hashes of the sources, the bundle, and the configuration.

        The sections `execution`, `serving` and `upkeep`, the working folder, times and durations are not part of it.
        """
        sources = sorted((source.kind, source.name, source.sha256) for source in self.sources)
        chosen = {
            name: section for name, section in self.configuration.items() if name not in APART
        }
        about = {
            "format": FORMAT,
            "model": self.model,
            "kind": self.kind,
            "bundle": self.bundle,
            "fit": self.fit,
        }
        return hash_of(
            {
                **about,
                "links": self.links(),
                "sources": sources,
                "configuration": chosen,
            }
        )

    def to_json(self) -> str:
        """Return the record as JSON, with a checksum of all of it."""
        values = seal(
            {
                "format": FORMAT,
                "root": self.root,
                **asdict(self),
            }
        )
        return json.dumps(values, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str = "") -> Lineage:
        """Read and check a record.

        Raises:
            Damaged: The text is no record, has another format, or was changed after it was written.
        """
        try:
            values = unseal(text)
            number = values.pop("format")
            if number != FORMAT:
                raise ValueError(f"format {number}; this version reads {FORMAT}")
            del values["root"]
            sources = tuple(RecordedSource(**source) for source in values.pop("sources"))
            steps = tuple(Step(**step) for step in values.pop("steps"))
            return cls(
                **values,
                sources=sources,
                steps=steps,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(
                "The record of a version's lineage cannot be trusted", where=where, cause=str(error)
            ) from error


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
    if ordered:
        return hashlib.sha256("\n".join(ordered).encode()).hexdigest()
    return ""


NOT_KNOWN = Family()


@dataclass(frozen=True)
class Defect:
    """A file, step or source that is missing or changed.

    Args:
        key: Key of the step or hash of the source; "bundle" or "record" for the version itself.
        state: "gone" or "changed".
        where: The file or folder.
    """

    key: str
    state: str
    where: str


def present(lineage: Lineage, store: Path) -> list[Defect]:
    """Return the steps that are missing from the store; nothing is hashed."""
    steps = [(step.key, store / step.key) for step in lineage.steps]
    return [
        Defect(key, GONE, str(folder)) for key, folder in steps if not (folder / MANIFEST).is_file()
    ]


def verify(
    lineage: Lineage,
    store: Path,
    bundle: Path,
    root: str = "",
) -> list[Defect]:
    """Hash the record, the bundle of the version, the files of every step, and the sources again.

    A source without a path is a file of an artifact or of the version, and is not hashed as a source.

    Args:
        store: Folder of the artifacts.
        bundle: Folder of the version's bundle.
        root: Value of the version's lineage tag, "" if it has none.
    """
    defects = []
    if root and root != lineage.root:
        defects = [Defect("record", CHANGED, f"tag {LINEAGE_TAG}")]

    fit = lineage.step(lineage.fit)
    missing = present(lineage, store)
    saved = {}
    for name in fit.files:
        if name.startswith(BUNDLE):
            saved[name.removeprefix(BUNDLE)] = fit.files[name]

    if saved.get(SPEC, {}).get("sha256") != lineage.bundle:
        defects.append(Defect("bundle", CHANGED, str(bundle / SPEC)))

    gone = {finding.key for finding in missing}
    checked = [("bundle", bundle, saved)]
    checked += [
        (step.key, store / step.key, step.files) for step in lineage.steps if step.key not in gone
    ]
    for source in lineage.sources:
        if source.path:
            path = source.place(store)
            checked.append((source.sha256, path.parent, {path.name: {"sha256": source.sha256}}))

    for key, folder, files in checked:
        defects += [
            Defect(key, state, str(folder / name))
            for name, state in differing_files(folder, files).items()
        ]

    return [*defects, *missing]


def require_whole(findings: list[Defect]) -> None:
    """Raise an error if there are findings.

    Raises:
        Damaged: Something has changed: the chain is broken there.
        ArtifactError: Something is missing, and nothing has changed.
    """
    for state, kind, predicate in (
        (CHANGED, Damaged, "was changed after registration"),
        (GONE, ArtifactError, "was deleted after registration"),
    ):
        places = [finding.where for finding in findings if finding.state == state]
        if places:
            raise kind(
                f"A file in the version's lineage {predicate}",
                where=places[0],
                value=f"{len(places)} files" if len(places) > 1 else None,
                remedy="`reviewlm version reproduce VERSION` rebuilds it from the raw files and compares both; of a raw "
                "file that has grown or was edited it needs the old state: --input",
            )


@dataclass(frozen=True)
class StepComparison:
    """A step as recorded and as made again.

    Args:
        then: As recorded.
        now: Made again.
        label: Distinguishes it from other steps of the stage.
    """

    then: Step
    now: Step
    label: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that differ; empty if the step is bit-equal."""
        return tuple(_differing(self.then.hashes, self.now.hashes))

    @property
    def figures(self) -> dict[str, tuple[float, float]]:
        """Recorded and new value of each figure, if the stage measures the model."""
        both = []
        for name in FIGURES.get(self.then.stage, ()):
            if name in self.then.facts and name in self.now.facts:
                both.append(name)

        return {name: (float(self.then.facts[name]), float(self.now.facts[name])) for name in both}

    def as_row(self) -> dict[str, Any]:
        """Return the comparison as JSON values; `identity` has the differences of version, options and inputs."""
        then = self.then
        row: dict[str, Any] = {
            "stage": then.stage,
            "label": self.label,
            "digest": then.digest,
        }
        row["files"] = self.files
        row["identity"] = changed_identity(then, self.now)
        row["seconds_then"] = then.seconds
        row["seconds_now"] = self.now.seconds
        row["figures"] = self.figures
        row["equal"] = not self.files
        return row


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the names whose values differ, are new or are missing."""
    return [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


def changed_identity(then: Step, now: Step) -> tuple[str, ...]:
    """Return the differences of version, options and inputs between two steps of one stage, one sentence each."""
    differences = []
    if then.version != now.version:
        differences = [f"version {then.version} then, {now.version} now"]

    for what in ("options", "inputs"):
        before, after = (flat(getattr(step, what)) for step in (then, now))
        for name in _differing(before, after):
            differences.append(
                f"{what}: {name} {_short_value(before, name)} then, {_short_value(after, name)} now"
            )

    return tuple(differences)


def _short_value(values: Mapping[str, Any], name: str) -> str:
    if name in values:
        return canonical(values[name])[:60]
    return "none"


def conclude(
    lineage: Lineage,
    compared: Sequence[StepComparison],
    platform: Sequence[str],
    tolerance: float,
) -> dict[str, Any]:
    """Return the verdict and the evidence for it.

    The verdict is "bit-equal", "figures agree" (only on another platform) or "differs".

    Args:
        compared: The steps that were made again, in order; on the same platform, none after the first that differs.
        platform: Differences of the platforms, one sentence each; empty if there are none.
        tolerance: Largest relative difference of a figure that counts as agreement on another platform.
    """
    rows = [step.as_row() for step in compared]
    first = next((row for row in rows if not row["equal"]), None)
    environment = lineage.step(lineage.fit).environment
    figures: list[dict[str, Any]] = []
    for row in rows:
        for name, (then, now) in row["figures"].items():
            figures.append(
                {
                    "split": row["label"],
                    "figure": name,
                    "then": then,
                    "now": now,
                }
            )

    verdict = DIFFERENT
    if first is None and len(compared) == len(lineage.steps):
        verdict = EQUAL

    close = [abs(row["now"] - row["then"]) <= tolerance * abs(row["then"]) for row in figures]
    if first is not None and platform and close and all(close):
        verdict = CLOSE

    first_difference = None
    if first is not None:
        first_difference = {**first, "file": first["files"][0]}

    result: dict[str, Any] = {"verdict": verdict, "model": lineage.model}
    result |= {"bundle": lineage.bundle, "root": lineage.root}
    result["first_difference"] = first_difference
    result["platform"] = list(platform)
    result["git_commit"] = environment.get("git_commit", "")
    result["same_code"] = environment.get("code") == made_with()["code"]
    result |= {
        "tolerance": tolerance,
        "figures": figures,
        "steps": rows,
    }
    return result
