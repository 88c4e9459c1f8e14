"""Content-addressed artifacts: the one memory of the pipeline.

An artifact is a folder `store/<stage>/<digest>` whose digest is the SHA-256 of everything its content depends on:
stage, version of the stage's code, options and the digests of its inputs. It is built in `store/.work/<digest>`,
which survives a crash so that a resumable stage goes on where it stopped, and appears under its final name in one
rename. A folder without that name does not exist for readers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from filelock import FileLock

from reviewlm.errors import ArtifactError, Damaged, disk_errors

MANIFEST = "manifest.json"
DIGEST_LENGTH = 16
log = logging.getLogger(__name__)


NO_NUMBER = "__float__"
"""Key under which facts hold an infinity; no stage names a fact so."""


def canonical(value: object) -> str:
    """Return the one JSON text of *value* (sorted keys, no spaces, no NaN), fit for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def to_json(value: Any) -> Any:
    """Return facts with `{"__float__": "inf"}` for what JSON has no number for: a perplexity may be infinite."""
    if isinstance(value, Mapping):
        return {name: to_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    return {NO_NUMBER: str(value)} if isinstance(value, float) and not isfinite(value) else value


def from_json(value: dict[str, Any]) -> Any:
    """Undo `to_json`: the hook of `json.loads` for objects."""
    return float(value[NO_NUMBER]) if value.keys() == {NO_NUMBER} else value


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differing_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return "gone" or "changed" for every file that is not there any more, or whose bytes have another SHA-256.

    Args:
        folder: Where the files lie.
        files: Their names, each with `sha256`, as in a manifest.
    """
    found = {}
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            found[name] = "gone"
        elif sha256_of_file(path) != entry["sha256"]:
            found[name] = "changed"
    return found


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: small and picklable, never the data itself."""

    stage: str
    digest: str
    path: str
    manifest: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def folder(self) -> Path:
        """The folder that holds the artifact's files."""
        return Path(self.path)

    @property
    def facts(self) -> dict[str, Any]:
        """What the stage said of its result: counts, figures."""
        return dict(self.manifest.get("facts", {}))


@dataclass(frozen=True)
class Built:
    """An artifact, and whether it was there already."""

    artifact: Artifact
    reused: bool


class Store:
    """Artifacts below one root folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    @staticmethod
    def digest(stage: str, version: int, options: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
        """Return the identity of a result: *inputs* maps names to digests of artifacts or files."""
        identity = {"stage": stage, "version": version, "options": dict(options), "inputs": dict(inputs)}
        return hashlib.sha256(canonical(identity).encode()).hexdigest()[:DIGEST_LENGTH]

    def find(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact if it is there and whole (names and sizes), else None.

        Raises:
            Damaged: The folder is there, but its files are not those that its manifest lists.
        """
        folder = self.root / stage / digest
        if not folder.is_dir():
            return None
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"), object_hook=from_json)
            for name, entry in manifest["files"].items():
                if (folder / name).stat().st_size != entry["bytes"]:
                    raise ValueError(f"{name} has {(folder / name).stat().st_size} bytes instead of {entry['bytes']}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Damaged(
                f"The stored result of '{stage}' is damaged", where=folder, cause=str(error),
                remedy=f"run again with --rebuild {stage}",
            ) from error
        return Artifact(stage, digest, str(folder), manifest)

    def open(self, stage: str, digest: str) -> Artifact:
        """Return an artifact that must be there.

        Raises:
            ArtifactError: There is none under this digest.
            Damaged: See `find`.
        """
        artifact = self.find(stage, digest)
        if artifact is None:
            raise ArtifactError(f"There is no '{stage}' artifact {digest}", where=self.root / stage)
        return artifact

    def verify(self, artifact: Artifact) -> None:
        """Compare every file with the manifest's SHA-256.

        Raises:
            Damaged: Names the first file that differs.
        """
        for name, state in differing_files(artifact.folder, artifact.manifest["files"]).items():
            raise Damaged(
                f"A file of '{artifact.stage}' {'is' if state == 'gone' else 'has'} {state} since it was written",
                where=artifact.folder / name, remedy=f"run again with --rebuild {artifact.stage}",
            )

    def all(self, stage: str) -> Iterator[Artifact]:
        """Yield the whole artifacts of a stage, newest first; of a damaged one the log tells, and it is passed over."""
        folder = self.root / stage
        names = sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True) if folder.is_dir() else []
        for path in names:
            try:
                artifact = self.find(stage, path.name)
            except Damaged as error:
                log.warning("%s", error)
                continue
            if artifact is not None:
                yield artifact

    def build(
        self,
        stage: str,
        version: int,
        options: Mapping[str, Any],
        inputs: Mapping[str, str],
        make: Callable[[Path], Mapping[str, Any]],
        *,
        environment: Mapping[str, Any] | None = None,
        rebuild: bool = False,
        resumable: bool = False,
    ) -> Built:
        """Return the artifact for these inputs, calling *make* only where it is not there already.

        Args:
            stage: Name of the stage and of its folder.
            version: Bumped by hand when the stage's result changes for equal inputs.
            options: The stage's own settings; JSON values only.
            inputs: Names to digests.
            make: Writes its files into the given work folder and returns facts for the manifest.
            environment: What does not change the result but is worth recording (device, threads, versions).
            rebuild: Build anew even where the artifact is there.
            resumable: Hand *make* the files that a killed attempt left; otherwise it starts in an empty folder.

        Raises:
            StoreFull, NotWritable: From the operating system, as ours.
        """
        digest = self.digest(stage, version, options, inputs)
        with disk_errors(self.root):
            if not rebuild and (found := self._find_or_set_aside(stage, digest)):
                return Built(found, reused=True)
            work = self.root / ".work" / digest
            work.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(work.with_suffix(".lock")):
                # Another process may have built it while we waited for the lock.
                if not rebuild and (found := self._find_or_set_aside(stage, digest)):
                    return Built(found, reused=True)
                if rebuild:
                    self._set_aside(stage, digest)
                if rebuild or not resumable:
                    shutil.rmtree(work, ignore_errors=True)
                work.mkdir(exist_ok=True)
                started = time.time()
                facts = dict(make(work))
                identity = {"stage": stage, "version": version, "options": dict(options), "inputs": dict(inputs)}
                record = {"facts": facts, "seconds": round(time.time() - started, 3), "created": started}
                _publish(work, self.root / stage / digest, {**identity, **record, "environment": environment or {}})
        return Built(self.open(stage, digest), reused=False)

    def _find_or_set_aside(self, stage: str, digest: str) -> Artifact | None:
        try:
            return self.find(stage, digest)
        except Damaged as error:
            log.warning("%s; it is set aside and built again", error)
            self._set_aside(stage, digest)
            return None

    def _set_aside(self, stage: str, digest: str) -> None:
        folder = self.root / stage / digest
        if folder.exists():
            aside = self.root / ".aside"
            aside.mkdir(exist_ok=True)
            folder.rename(aside / f"{stage}-{digest}-{time.time_ns()}")


def _publish(work: Path, final: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, flush all to the disk, and give the folder its name."""
    # A manifest that a killed attempt left must not be listed among the files of this one.
    (work / MANIFEST).unlink(missing_ok=True)
    files = sorted(path for path in work.rglob("*") if path.is_file())
    manifest["files"] = {
        path.relative_to(work).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
        for path in files
    }
    (work / MANIFEST).write_text(canonical(to_json(manifest)) + "\n", encoding="utf-8")
    for path in [*files, work / MANIFEST]:
        _fsync(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    work.rename(final)
    _fsync(final.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
