"""Gather from the store how a fitted model was built, as the lineage record of a registered version."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.errors import Damaged
from core.lineage import FITS, LINEAGE_FILE, LINEAGE_TAG, Lineage, RecordedSource, Step, step_of
from core.store import Artifact
from corpus.ingestion.parts import SET_ASIDE
from corpus.reading.sources import identify
from models.neural.spec import WEIGHTS
from tasks.data.ingest import path_now
from tasks.data.prepare import EARLIER
from tasks.lineage.inputs import BUNDLE_SPEC, Inputs
from tasks.lineage.sources import EARLIER_REVIEWS
from tasks.stage import store_of
from tasks.start_vectors import STAGE as VECTORS_STAGE
from tasks.start_vectors import vector_file
from tasks.track import registry_of, tracker_of
from tracking.logged_models.bundles import attach, required_record
from tracking.registry.opening import find


class Gathering:
    """Collector of all steps and sources behind an artifact, each once; it walks back through the inputs.

    Args:
        config: Locates the home folder and its store.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config, self.store = config, store_of(config)
        self.steps: dict[str, Step] = {}
        self.sources: dict[str, RecordedSource] = {}
        self._inputs = Inputs(self.store.all, self.store.find)

    def add(self, artifact: Artifact) -> str:
        """Add an artifact after all its inputs, and return its key."""
        key = f"{artifact.stage}/{artifact.digest}"
        if key not in self.steps:
            made_by = {}
            for name, value in artifact.manifest["inputs"].items():
                maker = self._inputs.maker(artifact, name, value)
                if maker is None:
                    self.sources.setdefault(value, self._source(artifact, name, value))
                else:
                    made_by[name] = self.add(maker)
            self.store.check(artifact)  # artifacts from `Store.all` are not checked yet
            self.steps[key] = step_of(artifact, made_by, facts_of(artifact))
        return key

    def _source(self, artifact: Artifact, name: str, value: str) -> RecordedSource:
        """Return a source for an input from outside; one that cannot be identified gets the kind "unknown"."""
        if artifact.stage == "read" and name == "file":
            facts = artifact.facts
            kind = "unreadable file" if SET_ASIDE in facts else "file"
            path = path_now(self.store, artifact)
            return RecordedSource(kind, facts["name"], value, int(facts["bytes"]), str(path))
        if artifact.stage == VECTORS_STAGE and name == "file":
            return self._named("vectors", self.config.vectors, artifact, value)
        if name == "business":
            path = Path(self.config.source.business).absolute()
            return RecordedSource("business", path.name, value, _size(path), str(path))
        if name.startswith(EARLIER):
            return RecordedSource(EARLIER_REVIEWS, "prepared for an earlier champion", value)
        kinds = {"kept": ("vocabulary", "of an earlier champion"), "start": ("weights", WEIGHTS)}
        kind, label = kinds.get(name, ("unknown", name))
        return RecordedSource(kind, label, value)


    def _named(self, kind: str, files: Mapping[str, str], artifact: Artifact, sha256: str) -> RecordedSource:
        """Return the source for a file that has a name in the configuration: the one that has these bytes now.

        A name may have another file since then, or the file another name. If no file has the bytes, it is the recorded
        one.
        """
        recorded = (str(artifact.facts["name"]), str(artifact.facts["path"]))
        for called, named in (*files.items(), recorded):
            path = vector_file(Path(named)).absolute()
            if path.is_file() and identify(path, called, self.store.root / ".files").sha256 == sha256:
                return RecordedSource(kind, called, sha256, _size(path), str(path))
        return RecordedSource(kind, recorded[0], sha256, 0, recorded[1])


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def facts_of(artifact: Artifact) -> dict[str, Any]:
    """Return the scalar facts of an artifact; of a fit also its options, of a file why it was set aside."""
    facts = {name: value for name, value in artifact.facts.items() if isinstance(value, str | int | float)}
    if SET_ASIDE in artifact.facts:
        facts[SET_ASIDE] = artifact.facts[SET_ASIDE]
    if artifact.stage in FITS:
        spec = json.loads((artifact.folder / BUNDLE_SPEC).read_text(encoding="utf-8"))
        facts["spec"] = spec["spec"]
    return facts


def lineage_of(config: RunConfig, fit: Artifact, measured: Iterable[Artifact] = ()) -> Lineage:
    """Return the lineage record of a fitted model.

    Args:
        config: The configuration of its run; its home folder contains the store.
        fit: The fit's artifact.
        measured: Artifacts with the model's scores and samples.
    """
    gathering = Gathering(config)
    key = gathering.add(fit)
    for artifact in measured:
        gathering.add(artifact)
    spec = gathering.steps[key].facts["spec"]
    return Lineage(
        spec["name"], spec["kind"], fit.manifest["files"][BUNDLE_SPEC]["sha256"], key,
        config.model_dump(mode="json", by_alias=True), tuple(gathering.sources.values()),
        tuple(gathering.steps.values()), str(Path.cwd()),
    )  # fmt: skip


def keep_lineage(config: RunConfig, model_uri: str, fit: Artifact, measured: Iterable[Artifact]) -> str:
    """Attach the lineage record of a fitted model to its logged model before registration, and return its root.

    A model that is already registered keeps its record, because its version is tagged with the root.

    Args:
        config: Locates store and registry.
        model_uri: Address of the logged model.
        fit: The fit's artifact.
        measured: Artifacts with what was measured about the model.
    """
    lineage = lineage_of(config, fit, measured)
    if not any(version.source == model_uri for version in registry_of(config).versions()):
        attach(tracker_of(config), model_uri, lineage)
    return lineage.root


def recorded_version(config: RunConfig, reference: str) -> tuple[Lineage, Path, int]:
    """Return a registered version's record, the folder of its bundle, and its number.

    Raises:
        BundleError: There is no such version, or its files are gone.
        ArtifactError: It has no record: no run registered it.
        Damaged: The record was changed, or the record does not match the root in the version's tag.
    """
    _, entry = find(config, reference)
    record = required_record(entry.folder)
    if (root := entry.version.tags.get(LINEAGE_TAG, record.root)) != record.root:
        raise Damaged(
            f"The record of version {entry.version.version} differs from the one that it was registered with",
            where=entry.folder.parent.parent / LINEAGE_FILE, value=f"root {record.root[:16]}, the tag says {root[:16]}",
        )
    return record, entry.folder, entry.version.version
