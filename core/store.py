"""Store the results of stages as content-addressed artifacts; find, check and list them.

An artifact is a folder `store/<stage>/<digest>`. The digest is the SHA-256 of everything the content depends on: stage,
version of the stage's code, options and the digests of its inputs. The artifact is built in a work folder:
`store/.work/<digest>` for a resumable stage, `store/.work/once-<digest>` for any other. The work folder survives a
crash, so a resumable stage continues where it stopped. One rename then gives the artifact its final name, so readers
never see an unfinished one.

The manifest holds the SHA-256 of every file. A process hashes each file before it uses it for the first time, and
again where the file system says that it has changed since. The use is noted as the manifest's time of modification.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import Timeout

from reviewlm.core.errors import ArtifactError, ConfigError, Damaged, disk_errors
from reviewlm.core.manifest import (
    MANIFEST,
    canonical,
    differing_files,
    hash_of,
    read_manifest,
    sha256_of,
    write_manifest,
)
from reviewlm.core.removal import ONCE, WORK, build_lock

__all__ = [
    "ASIDE",
    "DIGEST_LENGTH",
    "MANIFEST",
    "Artifact",
    "Built",
    "Store",
    "canonical",
    "differing_files",
    "note_sha256",
    "sha256_of",
]
ASIDE = ".aside"
DIGEST_LENGTH = 16
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: stage, digest, path and manifest. It never holds the data."""

    stage: str
    digest: str
    path: str
    manifest: Mapping[str, Any] = field(
        default_factory=dict,
        compare=False,
        repr=False,
    )

    def __post_init__(self) -> None:
        # Prefect looks through all dicts in the arguments of every stage; the manifests of a run are thousands.
        object.__setattr__(self, "manifest", UserDict(self.manifest))

    @property
    def folder(self) -> Path:
        """The folder that holds the artifact's files."""
        return Path(self.path)

    @property
    def facts(self) -> dict[str, Any]:
        """Facts that the stage recorded about its result: counts, figures."""
        return dict(self.manifest.get("facts", {}))


@dataclass(frozen=True)
class Built:
    """An artifact, and whether it existed already."""

    artifact: Artifact
    reused: bool


Stamp = tuple[int, int, int, int]
"""State of a file as the file system reports it: as long as it is the same, nobody has written to the file."""


def stamp_of(path: Path) -> Stamp:
    """Return the current inode, size, and times of modification and change of a file."""
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


_right: dict[Path, dict[str, Stamp]] = {}
"""Artifacts whose files this process has hashed, with the stamps of these."""
_noted: dict[Path, tuple[Stamp, str]] = {}
"""SHA-256 of new files that whoever wrote them has told, with the stamps that they had then."""


def note_sha256(path: Path, sha256: str) -> None:
    """Note the SHA-256 of a new file, so that `publish` does not read it again."""
    _noted[path.absolute()] = stamp_of(path), sha256


def _sha256_now(path: Path, stamp: Stamp) -> str:
    """Return the SHA-256 of a new file: as noted, if nobody has written to it since."""
    noted = _noted.pop(path, None)
    if noted and noted[0] == stamp:
        return noted[1]
    return sha256_of(path)


class Store:
    """The artifacts below one root folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    @classmethod
    def of(cls, home: Path) -> Store:
        """Return the store of a home folder."""
        return cls(home / "store")

    @staticmethod
    def require_new(home: Path) -> None:
        """Refuse a home folder for a reproduction that has a store.

        Raises:
            ConfigError: It has one.
        """
        if (home / "store").exists():
            raise ConfigError(
                "The home folder of a reproduction must be a new one",
                where="--home",
                value=home,
                cause="it has a store, whose artifacts would be re-used instead of rebuilt",
            )

    @staticmethod
    def digest(
        stage: str,
        version: str,
        options: Mapping[str, Any],
        inputs: Mapping[str, str],
    ) -> str:
        """Return the digest that identifies a result; *inputs* maps names to digests of artifacts or files."""
        identity = {
            "stage": stage,
            "version": version,
            "options": dict(options),
            "inputs": dict(inputs),
        }
        return hash_of(identity)[:DIGEST_LENGTH]

    def find(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact if it exists and its content is correct, else None.

        Raises:
            Damaged: The folder exists, but its files differ from its manifest.
        """
        self._note_use(stage, digest)
        artifact = self._valid_artifact(stage, digest)
        if artifact is not None:
            self.check(artifact)
        return artifact

    def find_usable(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact, or None if it is missing or damaged; damage is logged.

        For callers that can continue without it.
        """
        return _usable(self.find, stage, digest)

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

    def all(self, stage: str) -> Iterator[Artifact]:
        """Yield the artifacts of a stage, newest first; damaged ones are skipped with a warning.

        Only manifests are read: call `check` before reading an artifact's files.
        """
        for path in newest_first(self.root / stage):
            artifact = _usable(self._valid_artifact, stage, path.name)
            if artifact is not None:
                yield artifact

    def newest(self, stage: str) -> Artifact | None:
        """Return the artifact of a stage that was built last, after a check of its content; None if there is none.

        Raises:
            Damaged: Its files differ from its manifest.
        """
        artifact = max(
            self.all(stage), key=lambda one: float(one.manifest.get("created", 0.0)), default=None
        )
        if artifact is not None:
            self.check(artifact)
        return artifact

    def check(self, artifact: Artifact) -> None:
        """Compare the files of an artifact with its manifest, unless this process has done so and none has changed.

        Args:
            artifact: As listed by `all`; `find` and `open` check by themselves.

        Raises:
            Damaged: Names the first file that differs.
        """
        self._note_use(artifact.stage, artifact.digest)
        try:
            stamps = {name: stamp_of(artifact.folder / name) for name in artifact.manifest["files"]}
            if _right.get(artifact.folder) == stamps:
                return
            bad = differing_files(artifact.folder, artifact.manifest["files"])
        except PermissionError as error:
            raise ArtifactError(
                f"No permission to read the stored result of '{artifact.stage}'",
                where=artifact.folder,
                cause=str(error),
                remedy="give yourself read permission",
            ) from error
        except OSError as error:
            raise self._damage_error(artifact.stage, artifact.folder, str(error)) from error

        for name, state in bad.items():
            raise self._damage_error(artifact.stage, artifact.folder / name, f"the file is {state}")

        _right[artifact.folder] = stamps

    def verify(self, artifact: Artifact) -> None:
        """Hash every file again and compare it with the manifest.

        Raises:
            Damaged: Names the first file that differs.
        """
        _right.pop(artifact.folder, None)
        self.check(artifact)

    def build(
        self,
        stage: str,
        version: str,
        options: Mapping[str, Any],
        inputs: Mapping[str, str],
        make: Callable[[Path], Mapping[str, Any]],
        *,
        environment: Mapping[str, Any] | None = None,
        rebuild: bool = False,
        resumable: bool = False,
    ) -> Built:
        """Return the artifact for these inputs; call *make* only if it does not exist already.

        Args:
            stage: Name of the stage and of its folder.
            version: Version of the stage's code; edited code has another one.
            options: The stage's own settings; JSON values only.
            inputs: Names to digests.
            make: Writes its files into the given work folder and returns facts for the manifest.
            environment: Facts that do not change the result but are recorded (device, threads, versions).
            rebuild: Build again even if the artifact exists.
            resumable: Give *make* the files that a killed attempt left; otherwise it starts in an empty folder.

        Raises:
            StoreFull, NotWritable: The operating system refuses.
        """
        digest = self.digest(stage, version, options, inputs)
        with disk_errors(self.root):
            with suppress(Damaged):  # handled under the lock
                if not rebuild and (artifact := self.find(stage, digest)):
                    return Built(artifact, reused=True)
            work = self.root / WORK / (digest if resumable else f"{ONCE}{digest}")
            final = self.root / stage / digest
            with build_lock(self.root, digest):
                # Another process may have built it while this one waited for the lock.
                if not rebuild and (artifact := self.find_usable(stage, digest)):
                    return Built(artifact, reused=True)
                self._set_aside(stage, final)
                if rebuild or not resumable:
                    shutil.rmtree(work, ignore_errors=True)
                work.mkdir(exist_ok=True)
                started = time.time()
                began = time.monotonic()  # the clock may be set meanwhile
                facts = dict(make(work))
                identity = {
                    "stage": stage,
                    "version": version,
                    "options": dict(options),
                    "inputs": dict(inputs),
                }
                record = {
                    "facts": facts,
                    "seconds": round(time.monotonic() - began, 3),
                    "created": started,
                }
                _right[final] = publish(
                    work,
                    final,
                    {
                        **identity,
                        **record,
                        "environment": environment or {},
                    },
                )

        return Built(self.open(stage, digest), reused=False)

    def hand_over(self, digest: str, files: Mapping[str, Path]) -> None:
        """Move files to their names in the work folder of a resumable build, which then continues from them."""
        work = self.root / WORK / digest
        with disk_errors(self.root), build_lock(self.root, digest):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            for name, path in files.items():
                path.rename(work / name)

    def tidy(self) -> list[Path]:
        """Remove the work folders of killed builds that cannot be resumed; return them.

        Folders of resumable builds, and folders that a running process works in, are kept.
        """
        gone = []
        for work in (self.root / WORK).glob(f"{ONCE}*"):
            with (
                suppress(Timeout, OSError),
                build_lock(self.root, work.name.removeprefix(ONCE), timeout=0),
            ):
                shutil.rmtree(work, ignore_errors=True)
                gone.append(work)
        return gone

    def _note_use(self, stage: str, digest: str) -> None:
        """Record that a result is used now; a store that cannot be written is no error."""
        with suppress(OSError):
            os.utime(self.root / stage / digest / MANIFEST)

    def _valid_artifact(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact if its manifest is valid."""
        folder = self.root / stage / digest
        if not digest or not folder.is_dir():
            return None

        try:
            return Artifact(stage, digest, str(folder), read_manifest(folder / MANIFEST))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if not folder.is_dir():  # removed just now
                return None
            raise self._damage_error(
                stage, folder / MANIFEST, str(error) or type(error).__name__
            ) from error

    def _damage_error(
        self,
        stage: str,
        where: Path,
        cause: str,
    ) -> Damaged:
        return Damaged(
            f"The stored result of '{stage}' is damaged",
            where=where,
            cause=cause,
            remedy="run the pipeline again with the same settings: it moves the folder to "
            f"{self.root / ASIDE} and builds the result again; if this happens again, check the disk",
        )

    def _set_aside(self, stage: str, folder: Path) -> None:
        if folder.exists():
            aside = self.root / ASIDE / f"{stage}-{folder.name}-{time.time_ns()}"
            aside.parent.mkdir(exist_ok=True)
            folder.rename(aside)
            log.info("%s: the previous result is kept in %s", stage, aside)


def _usable(
    find: Callable[[str, str], Artifact | None],
    stage: str,
    digest: str,
) -> Artifact | None:
    try:
        return find(stage, digest)
    except Damaged as error:
        log.warning("%s", error)
        return None


def publish(
    work: Path,
    final: Path,
    manifest: Mapping[str, Any],
) -> dict[str, Stamp]:
    """Write the manifest, flush all files to the disk, and rename the folder; return the stamps of its files."""
    # What a killed attempt left must not be listed among the files of this one: its manifest, and the hidden file that
    # safetensors writes before it renames it.
    for left in (work / MANIFEST, *work.rglob(".tmp*")):
        left.unlink(missing_ok=True)

    paths = {
        path.relative_to(work).as_posix(): path
        for path in sorted(work.rglob("*"))
        if path.is_file()
    }
    stamps = {name: stamp_of(path) for name, path in paths.items()}
    files = {}
    for name, path in paths.items():
        files[name] = {
            "bytes": stamps[name][1],
            "sha256": _sha256_now(path, stamps[name]),
        }

    write_manifest(work / MANIFEST, {**manifest, "files": files})
    for path in [*paths.values(), work / MANIFEST]:
        _fsync(path)

    final.parent.mkdir(parents=True, exist_ok=True)
    work.rename(final)
    _fsync(final.parent)
    return stamps


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def newest_first(folder: Path) -> list[Path]:
    """Return the entries of a folder, the newest first; an empty list if there is no such folder."""
    times = {}
    if folder.is_dir():
        for path in folder.iterdir():
            with suppress(OSError):  # removed just now
                times[path] = path.stat().st_mtime
    return sorted(times, key=lambda path: times[path], reverse=True)
