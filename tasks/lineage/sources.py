"""Find the inputs of a registered version from outside: raw files, word vectors, what its start learnt."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from core.config.run_config import RunConfig
from core.errors import ArtifactError, BundleError, Unreadable
from core.lineage import Lineage, RecordedSource
from core.store import Artifact, sha256_of_file
from corpus.reading.sources import source_names
from models.neural.spec import WEIGHTS
from tasks.stage import store_of
from tasks.track import registry_of

ON_DISK = ("file", "business", "vectors")
"""Kinds of sources that are files on disk."""
EARLIER_REVIEWS = "reviews"
"""Kind of the prepared data of earlier champions, which are in the store."""
log = logging.getLogger(__name__)


def find_sources(lineage: Lineage, store: Path, given: Sequence[str] = ()) -> dict[str, Path]:
    """Return the current paths of the raw files by SHA-256: the recorded path, or one of the files *given*.

    Args:
        store: Folder of the artifacts that the version was made in.

    Raises:
        Unreadable: A file has changed or is gone, and no given file has its bytes.
        ArtifactError: The record does not say where an input came from.
    """
    files: dict[str, Path] = {}
    others = list(source_names(given)) if given else []
    for source in lineage.sources:
        if source.kind == "unknown":
            raise ArtifactError(
                "It is not known how all inputs of this version were made", where=source.name,
                value=source.sha256, cause="they were no longer in the store when the record was written",
            )
        if source.kind not in ON_DISK:
            continue
        places = [source.place(store)] if source.path else []
        places += [path for path in others if not source.bytes or path.stat().st_size == source.bytes]
        match = next((path for path in places if path.is_file() and sha256_of_file(path) == source.sha256), None)
        if match is None:
            raise _lost(source)
        files[source.sha256] = match
    return files


def _lost(source: RecordedSource) -> Unreadable:
    changed = bool(source.path) and Path(source.path).is_file()
    or_folder = "" if source.kind == "vectors" else ", or a folder that has it"
    return Unreadable(
        f"A raw file of this version {'has changed' if changed else 'is missing'}", where=source.path or source.name,
        value=f"SHA-256 {source.sha256}", remedy=f"name the unchanged file{or_folder}: --input",
    )


def starting_weights(config: RunConfig, lineage: Lineage) -> dict[str, Path]:
    """Return the folders of the start weights of this version's networks, by SHA-256.

    Raises:
        BundleError: No registered version has the weights any more.
    """
    folders: dict[str, Path] = {}
    digests = {source.sha256 for source in lineage.sources if source.kind == "weights"}
    if not digests:
        return folders
    registry = registry_of(config)
    for version in registry.versions():
        try:
            folder = registry.bundle_folder(version)
        except BundleError as error:
            log.warning("%s", error)
            continue
        for file in folder.rglob(WEIGHTS):
            if (digest := sha256_of_file(file)) in digests:
                folders[digest] = file.parent
    if lost := digests - folders.keys():
        raise BundleError(
            "No registered version has the weights that the training started from", value=f"SHA-256 {lost.pop()}",
            cause="the champion of that time was deleted",
        )
    return folders


def earlier_reviews(config: RunConfig, lineage: Lineage) -> dict[str, Artifact]:
    """Return the prepared data of earlier champions that this version's held-out reviews were compared with, by digest.

    Raises:
        ArtifactError: They are not in the store any more.
    """
    artifacts = {}
    for source in lineage.sources:
        if source.kind == EARLIER_REVIEWS:
            if (artifact := store_of(config).find_usable("prepare", source.sha256)) is None:
                raise ArtifactError(
                    "The reviews that an earlier champion had learnt from are not in the store", where=source.name,
                    value=source.sha256, cause="the start weights of this version had learnt from them, so test "
                    "reviews that repeat them were left out", remedy="restore the home folder that made this version",
                )
            artifacts[source.sha256] = artifact
    return artifacts
