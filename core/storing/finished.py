"""Publish a finished work folder in the store by one rename, with a manifest; find, check and list such results.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.content_check import BadFile, ContentCheck, Seen, hash_file
from core.errors import ArtifactError, Damaged
from core.manifest import MANIFEST, canonical, read_manifest, write_manifest
from core.storing.removal import TRASH, Uses, build_lock


def publish(work: Path, final: Path, manifest: dict[str, Any]) -> dict[str, Seen]:
    """Write the manifest, flush all files to the disk, and rename the folder; return the records of its files.

    Raises:
        ValueError: The manifest lists files already, and those of the folder differ.
    """
    # What a killed attempt left must not be listed among the files of this one: its manifest, and the hidden file that
    # safetensors writes before it renames it.
    for left in (work / MANIFEST, *work.rglob(".tmp*")):
        left.unlink(missing_ok=True)
    files = {path.relative_to(work).as_posix(): path for path in sorted(work.rglob("*")) if path.is_file()}
    hashed = {name: hash_file(path) for name, path in files.items()}
    entries = {name: {"bytes": seen.stamp.size, "sha256": sha256} for name, (sha256, seen) in hashed.items()}
    listed = manifest.setdefault("files", entries)
    if listed != entries:
        differs = next(name for name in sorted({*listed, *entries}) if listed.get(name) != entries.get(name))
        raise ValueError(f"{differs[:60]!r} differs from its manifest")
    write_manifest(work / MANIFEST, manifest)
    for path in [*files.values(), work / MANIFEST]:
        _fsync(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    work.rename(final)
    _fsync(final.parent)
    return {name: seen for name, (_, seen) in hashed.items()}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def newest_first(folder: Path) -> list[Path]:
    """Return what a folder holds, the newest first; an empty list if there is no such folder."""
    times = {}
    if folder.is_dir():
        for path in folder.iterdir():
            with suppress(OSError):  # removed just now
                times[path] = path.stat().st_mtime
    return sorted(times, key=lambda path: times[path], reverse=True)


ASIDE = ".aside"
DIGEST_LENGTH = 16
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: stage, digest, path and manifest. It never holds the data.

    Pickled, it is a reference: the manifest, which names every source file, is read again from its folder.
    """

    stage: str
    digest: str
    path: str
    manifest: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Prefect looks through all dicts in the arguments of every stage; the manifests of a run are thousands.
        object.__setattr__(self, "manifest", UserDict(self.manifest))

    def __reduce__(self) -> tuple[Callable[..., Artifact], tuple[str, ...]]:
        place, name = os.path.split(self.path)
        # Interned strings are pickled once, however many artifacts of a store an object holds.
        return _unpickled, tuple(map(sys.intern, (self.stage, self.digest, place, name)))

    @property
    def folder(self) -> Path:
        """The folder that holds the artifact's files."""
        return Path(self.path)

    @property
    def facts(self) -> dict[str, Any]:
        """Facts that the stage recorded about its result: counts, figures."""
        return dict(self.manifest.get("facts", {}))


def _unpickled(stage: str, digest: str, place: str, name: str) -> Artifact:
    path = os.path.join(place, name)
    return Artifact(stage, digest, path, read_manifest(Path(path) / MANIFEST))


def digest_of(stage: str, version: str, options: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return the digest that identifies a result; *inputs* maps names to digests of artifacts or files."""
    identity = {"stage": stage, "version": version, "options": dict(options), "inputs": dict(inputs)}
    return hashlib.sha256(canonical(identity).encode()).hexdigest()[:DIGEST_LENGTH]


class FinishedResults:
    """The artifacts below one root folder.

    Args:
        root: The folder.
        verify: Hash every file of an artifact whole before it is used, not only files that may have changed.
    """

    def __init__(self, root: str | Path, verify: bool = False) -> None:
        self.root, self.verifies = Path(root).absolute(), verify
        self._contents, self._uses = ContentCheck(self.root), Uses(self.root)

    def find(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact if it exists and its content is correct (see `core/content_check.py`), else None.

        Raises:
            Damaged: The folder exists, but its files differ from its manifest.
        """
        return self._checked(self._noted(stage, digest) or self._brought_back(stage, digest))

    def _noted(self, stage: str, digest: str) -> Artifact | None:
        """Note the use of an artifact, then list it; in this order `reviewlm home gc` misses no use."""
        if digest:
            self._uses.note(stage, digest)
        return self._listed(stage, digest)

    def _brought_back(self, stage: str, digest: str) -> Artifact | None:
        """Return an artifact that a collection had begun to remove and gives back, because it was used; else None."""
        if digest and (self.root / TRASH).is_dir():
            with suppress(OSError), build_lock(self.root, digest):
                pass
        return self._listed(stage, digest)

    def _checked(self, artifact: Artifact | None) -> Artifact | None:
        if artifact is not None:
            self.check(artifact)
        return artifact

    def find_usable(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact, or None if it is missing or damaged; damage is logged.

        For callers that can continue without it.
        """
        try:
            return self.find(stage, digest)
        except Damaged as error:
            log.warning("%s", error)
            return None

    def open(self, stage: str, digest: str) -> Artifact:
        """Return an artifact that must exist.

        Raises:
            ArtifactError: There is none with this digest.
            Damaged: See `find`.
        """
        artifact = self.find(stage, digest)
        if artifact is None:
            raise ArtifactError(f"There is no '{stage}' artifact {digest}", where=self.root / stage)
        return artifact

    def check(self, artifact: Artifact, whole: bool = False) -> None:
        """Compare the files of an artifact with its manifest, as far as they may have changed.

        Args:
            artifact: As listed by `all` and `listed`; `find` and `open` check by themselves.
            whole: Hash every file whole, even if its record is unchanged.

        Raises:
            Damaged: Names the first file that differs.
        """
        self._uses.note(artifact.stage, artifact.digest)
        try:
            bad = self._contents.first_bad(artifact.folder, artifact.manifest["files"], whole or self.verifies)
        except PermissionError as error:
            raise ArtifactError(
                f"No permission to read the stored result of '{artifact.stage}'", where=artifact.folder,
                cause=str(error), remedy="give yourself read permission",
            ) from error
        except OSError as error:
            raise self._damaged(artifact.stage, artifact.folder, str(error)) from error
        if bad:
            raise self._bad(artifact.stage, artifact.folder, bad)

    def verify(self, artifact: Artifact) -> None:
        """Hash every file whole and compare it with the manifest.

        Raises:
            Damaged: Names the first file that differs.
        """
        self.check(artifact, whole=True)

    def listed(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact as `all` lists it, for callers that need only its manifest; None if it is damaged."""
        try:
            return self._listed(stage, digest)
        except Damaged as error:
            log.warning("%s", error)
            return None

    def _listed(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact if its manifest is valid and its files exist with the right sizes."""
        folder = self.root / stage / digest
        if not digest or not folder.is_dir():
            return None
        try:
            manifest = read_manifest(folder / MANIFEST)
            bad = self._contents.wrong_size(folder, manifest["files"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if not folder.is_dir():  # removed just now
                return None
            raise self._damaged(stage, folder / MANIFEST, str(error) or type(error).__name__) from error
        if bad and folder.is_dir():
            raise self._bad(stage, folder, bad)
        return None if bad else Artifact(stage, digest, str(folder), manifest)

    def _bad(self, stage: str, folder: Path, bad: BadFile) -> Damaged:
        return self._damaged(stage, folder / bad.name, f"the file is {bad.state}: {bad.detail}")

    def _damaged(self, stage: str, where: Path, cause: str) -> Damaged:
        return Damaged(
            f"The stored result of '{stage}' is damaged", where=where, cause=cause,
            remedy="run the pipeline again with the same settings: it moves the folder to "
            f"{self.root / ASIDE} and builds the result again; if this happens again, check the disk",
        )

    def newest(self, stage: str) -> Artifact | None:
        """Return the artifact of a stage that was built last, after a check of its content; None if there is none.

        Raises:
            Damaged: Its files differ from its manifest.
        """
        artifact = max(self.all(stage), key=lambda one: float(one.manifest.get("created", 0.0)), default=None)
        if artifact is not None:
            self.check(artifact)
        return artifact

    def all(self, stage: str) -> Iterator[Artifact]:
        """Yield the artifacts of a stage, newest first; damaged ones are skipped with a warning.

        Only names and sizes are checked: call `check` before reading an artifact's files.
        """
        for path in newest_first(self.root / stage):
            if (artifact := self.listed(stage, path.name)) is not None:
                yield artifact
