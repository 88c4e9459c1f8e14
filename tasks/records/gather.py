"""Find how a fitted model was built: its lineage record, the results behind it, and its inputs from outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.errors import ArtifactError, BundleError, Damaged, Unreadable
from reviewlm.core.lineage import (
    FITS,
    LINEAGE_FILE,
    LINEAGE_TAG,
    Lineage,
    RecordedSource,
    Step,
    step_of,
)
from reviewlm.core.store import Artifact, Store, sha256_of
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.ingestion.parts import SET_ASIDE
from reviewlm.corpus.reading.sources import source_names
from reviewlm.models.neural.spec import WEIGHTS
from reviewlm.tasks.data.ingest import SYNTHETIC_FILE, path_now
from reviewlm.tasks.data.prepare import EARLIER
from reviewlm.tasks.embed import START_VECTORS
from reviewlm.tasks.fitting.job import BUNDLE_SPEC, PART
from reviewlm.tasks.fitting.warm_start import past_of
from reviewlm.tasks.records.track import registry_of, tracker_of
from reviewlm.tracking.logged_models.bundles import Found, attach, required_record
from reviewlm.tracking.registry.opening import find as find_version

ON_DISK = ("file", "business", "vectors")
"""Kinds of sources that are files on disk."""
EARLIER_REVIEWS = "reviews"
"""Kind of the prepared data of earlier champions, which are in the store."""


class Inputs:
    """Search for the artifact that made an input."""

    def __init__(
        self, all: Callable[[str], Iterable[Artifact]], find: Callable[[str], Artifact | None]
    ) -> None:
        self.all = all
        self.find = find

    def maker(
        self,
        artifact: Artifact,
        name: str,
        value: str,
    ) -> Artifact | None:
        """Return the artifact behind an input; None if it came from outside or was removed from the store."""
        if name == "vocabulary":
            return self._vocabulary(value, artifact.manifest["inputs"].get("clean"))
        if name == "bundle" or name.startswith(PART):
            return self.fits.get(value)
        return (self._synthetic.get(value) if artifact.stage == "read" else None) or self.find(
            value
        )

    @cached_property
    def fits(self) -> dict[str, Artifact]:
        """The fits by the SHA-256 of their bundle's `spec.json`."""
        return by_file(chain.from_iterable(map(self.all, FITS)), BUNDLE_SPEC)

    @cached_property
    def _synthetic(self) -> dict[str, Artifact]:
        return by_file(self.all("synthesise"), SYNTHETIC_FILE)

    def _vocabulary(self, digest: str, clean: str | None) -> Artifact | None:
        """Return the newest vocabulary with this digest, preferably trained on the data *clean*.

        Different data may give equal vocabularies, for example of letters.
        """
        equal = [one for one in self.all("vocabulary") if one.facts["vocabulary_digest"] == digest]
        of_data = [one for one in equal if one.manifest["inputs"].get("clean", clean) == clean]
        return next(iter([*of_data, *equal]), None)


def by_file(artifacts: Iterable[Artifact], file: str) -> dict[str, Artifact]:
    """Return artifacts by the SHA-256 of one of their files; for equal hashes the newest."""
    by_hash: dict[str, Artifact] = {}
    oldest_first = reversed(list(artifacts))
    for artifact in oldest_first:
        files = artifact.manifest["files"]
        if file in files:
            by_hash[files[file]["sha256"]] = artifact

    return by_hash


def artifact_of(store: Store, digest: str) -> Artifact | None:
    """Return the artifact with a digest, of any stage; None if the store does not have it. Errors as `Store.find`."""
    for folder in store.root.iterdir():
        if (folder / digest).is_dir() and folder.name[0] != ".":
            return store.find(folder.name, digest)

    return None


class Gathering:
    """Collector of all steps and sources behind an artifact, each once; it walks back through the inputs."""

    def __init__(self, home: Path, source: SourceConfig) -> None:
        self.store = Store.of(home)
        self._business = Path(source.business).absolute()
        self.steps: dict[str, Step] = {}
        self.sources: dict[str, RecordedSource] = {}
        self._inputs = Inputs(self.store.all, partial(artifact_of, self.store))

    def add(self, artifact: Artifact) -> str:
        """Add an artifact after all its inputs, and return its key."""
        key = f"{artifact.stage}/{artifact.digest}"
        if key not in self.steps:
            made_by = {}
            for name, value in artifact.manifest["inputs"].items():
                maker = None
                if not name.startswith(EARLIER):
                    maker = self._inputs.maker(artifact, name, value)
                if maker is None:
                    self.sources.setdefault(value, self._source(artifact, name, value))
                else:
                    made_by[name] = self.add(maker)
            self.store.check(artifact)  # artifacts from `Store.all` are not checked yet
            self.steps[key] = step_of(
                artifact.stage,
                artifact.digest,
                artifact.manifest,
                made_by,
                facts_of(artifact),
            )

        return key

    def _source(
        self,
        artifact: Artifact,
        name: str,
        value: str,
    ) -> RecordedSource:
        """Return a source for an input from outside; one that cannot be identified gets the kind "unknown"."""
        if artifact.stage == "read" and name == "file":
            facts = artifact.facts
            kind = "unreadable file" if SET_ASIDE in facts else "file"
            place = str(path_now(self.store, artifact))
            return RecordedSource(
                kind,
                facts["name"],
                value,
                int(facts["bytes"]),
                place,
            )
        if artifact.stage == START_VECTORS and name == "file":
            path = Path(artifact.facts["path"])
            return RecordedSource(
                "vectors",
                artifact.facts["name"],
                value,
                _size(path),
                str(path),
            )
        if name == "business":
            path = self._business
            return RecordedSource(
                "business",
                path.name,
                value,
                _size(path),
                str(path),
            )

        if name.startswith(EARLIER):
            return RecordedSource(EARLIER_REVIEWS, "prepared for an earlier champion", value)
        if name == "kept":
            return RecordedSource("vocabulary", "of an earlier champion", value)
        if name == "start":
            return RecordedSource("weights", WEIGHTS, value)
        return RecordedSource("unknown", name, value)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return 0


def facts_of(artifact: Artifact) -> dict[str, Any]:
    """Return the scalar facts of an artifact; of a fit also its options, of a file why it was set aside."""
    scalars = (str, int, float)
    facts: dict[str, Any] = {}
    for name, value in artifact.facts.items():
        if isinstance(value, scalars):
            facts[name] = value

    if SET_ASIDE in artifact.facts:
        facts[SET_ASIDE] = artifact.facts[SET_ASIDE]

    if artifact.stage in FITS:
        spec = json.loads((artifact.folder / BUNDLE_SPEC).read_text(encoding="utf-8"))
        facts |= {"spec": spec["spec"], **past_of(spec)}

    return facts


def lineage_of(
    config: RunConfig,
    fit: Artifact,
    measured: Iterable[Artifact] = (),
) -> Lineage:
    """Return the lineage record of a fitted model."""
    gathering = Gathering(config.home, config.source)
    key = gathering.add(fit)
    for artifact in measured:
        gathering.add(artifact)

    spec = gathering.steps[key].facts["spec"]
    bundle = fit.manifest["files"][BUNDLE_SPEC]["sha256"]
    settings = config.model_dump(mode="json", by_alias=True)
    sources = tuple(gathering.sources.values())
    steps = tuple(gathering.steps.values())
    folder = str(Path.cwd())
    return Lineage(
        spec["name"],
        spec["kind"],
        bundle,
        key,
        settings,
        sources,
        steps,
        folder,
    )


def keep_lineage(
    config: RunConfig,
    model_uri: str,
    fit: Artifact,
    measured: Iterable[Artifact],
) -> str:
    """Attach the lineage record of a fitted model to its logged model before registration, and return its root.

    A model that is already registered keeps its record, because its version is tagged with the root.
    """
    lineage = lineage_of(config, fit, measured)
    if not any(
        version.source == model_uri
        for version in registry_of(config.workspace, config.promotion.model_name).versions()
    ):
        attach(tracker_of(config.workspace), model_uri, lineage)
    return lineage.root


def recorded_version(
    workspace: Workspace,
    promotion: PromotionConfig,
    reference: str,
) -> tuple[Lineage, Found]:
    """Return a registered version's record, and the version with the folder of its bundle.

    Raises:
        BundleError: There is no such version, or its files are gone.
        ArtifactError: It has no record: no run registered it.
        Damaged: The record was changed, or the record does not match the root in the version's tag.
    """
    entry = find_version(workspace, promotion.model_name, reference)
    record = required_record(entry.folder)
    root = entry.version.tags.get(LINEAGE_TAG, record.root)
    if root != record.root:
        raise Damaged(
            f"The record of version {entry.version.version} differs from the one that it was registered with",
            where=entry.folder.parent.parent / LINEAGE_FILE,
            value=f"root {record.root[:16]}, the tag says {root[:16]}",
        )
    return record, entry


def find_sources(
    lineage: Lineage,
    store: Path,
    given: Sequence[str] = (),
) -> dict[str, Path]:
    """Return the current paths of the raw files by SHA-256: the recorded path, or one of the files *given*.

    Raises:
        Unreadable: A file has changed or is gone, and no given file has its bytes.
        ArtifactError: The record does not say where an input came from.
    """
    files: dict[str, Path] = {}
    others = []
    if given:
        others = list(source_names(given))

    for source in lineage.sources:
        if source.kind == "unknown":
            raise ArtifactError(
                "It is not known how all inputs of this version were made",
                where=source.name,
                value=source.sha256,
                cause="they were no longer in the store when the record was written",
            )
        if source.kind in ON_DISK:
            match = _file_of(source, store, others)
            if match is None:
                raise Unreadable(
                    "A raw file of this version is missing or has changed",
                    where=source.path or source.name,
                    value=f"SHA-256 {source.sha256}",
                    remedy="name a copy of the file as it was then: --input; one that has grown since is another file",
                )
            files[source.sha256] = match

    return files


def _file_of(
    source: RecordedSource,
    store: Path,
    given: Sequence[Path],
) -> Path | None:
    """Return the first file with a source's bytes: at its recorded path, or one of the files *given*."""
    paths = [source.place(store)] if source.path else []
    paths += [path for path in given if not source.bytes or path.stat().st_size == source.bytes]
    for path in paths:
        if path.is_file() and sha256_of(path) == source.sha256:
            return path

    return None


def starting_weights(
    workspace: Workspace,
    promotion: PromotionConfig,
    lineage: Lineage,
) -> dict[str, Path]:
    """Return the folders of the start weights of this version's networks, by SHA-256.

    Raises:
        BundleError: No registered version has the weights any more.
    """
    folders: dict[str, Path] = {}
    digests = {source.sha256 for source in lineage.sources if source.kind == "weights"}
    registry = registry_of(workspace, promotion.model_name)
    versions = registry.versions() if digests else []
    for version in versions:
        with suppress(BundleError):  # another version may have them
            files = registry.bundle_folder(version).rglob(WEIGHTS)
            folders |= {sha256_of(file): file.parent for file in files}

    lost = digests - folders.keys()
    if lost:
        raise BundleError(
            "No registered version has the weights that the training started from",
            value=f"SHA-256 {lost.pop()}",
            cause="the champion of that time was deleted",
        )

    return folders


def earlier_reviews(home: Path, lineage: Lineage) -> dict[str, Artifact]:
    """Return the prepared data of earlier champions that this version's held-out reviews were compared with, by digest.

    Raises:
        ArtifactError: They are not in the store any more.
    """
    artifacts = {}
    for source in lineage.sources:
        if source.kind == EARLIER_REVIEWS:
            artifact = Store.of(home).find_usable("prepare", source.sha256)
            if artifact is None:
                raise ArtifactError(
                    "The reviews that an earlier champion had learnt from are not in the store",
                    where=source.name,
                    value=source.sha256,
                    cause="the start weights of this version had learnt from them, so test "
                    "reviews that repeat them were left out",
                    remedy="restore the home folder that made this version",
                )
            artifacts[source.sha256] = artifact

    return artifacts
