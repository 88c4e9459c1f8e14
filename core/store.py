"""Store the results of stages as content-addressed artifacts.

An artifact is a folder `store/<stage>/<digest>`. The digest is the SHA-256 of everything the content depends on: stage,
version of the stage's code, options and the digests of its inputs. The artifact is built in a work folder:
`store/.work/<digest>` for a resumable stage, `store/.work/once-<digest>` for any other. The work folder survives a
crash, so a resumable stage continues where it stopped. One rename then gives the artifact its final name, so readers
never see an unfinished one.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from core.content_check import differing_files, sha256_of_file
from core.errors import Damaged, disk_errors
from core.manifest import MANIFEST, canonical
from core.storing.finished import ASIDE, DIGEST_LENGTH, Artifact, FinishedResults, digest_of, publish
from core.storing.remote import RemoteStore, remote_store
from core.storing.removal import WORK, build_lock

__all__ = [
    "ASIDE", "DIGEST_LENGTH", "MANIFEST", "Artifact", "Built", "Store", "canonical", "differing_files", "sha256_of_file"
]
ONCE = "once-"
"""Prefix of unfinished builds and downloads that cannot be resumed."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """An artifact, and whether it existed already."""

    artifact: Artifact
    reused: bool


class StoreSettings(Protocol):
    """What a configuration says of its store."""

    @property
    def home(self) -> Path: ...
    @property
    def execution(self) -> Any: ...


class Store(FinishedResults):
    """The artifacts below one root folder, and the building of new ones.

    Args:
        root: The folder.
        verify: Hash every file of an artifact whole before it is used, not only files that may have changed.
        remote: Second place of results, which other machines use too; None: there is none.
    """

    def __init__(self, root: str | Path, verify: bool = False, remote: RemoteStore | None = None) -> None:
        super().__init__(root, verify)
        self.remote = remote

    @classmethod
    def of(cls, config: StoreSettings) -> Store:
        """Return the store of a configuration, with its remote store."""
        execution = config.execution
        return cls(config.home / "store", execution.verify, remote_store(execution.remote_store))

    digest = staticmethod(digest_of)

    def find(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact from here, or else from the remote store; None if neither has it.

        Raises:
            Damaged: The folder exists here, but its files differ from its manifest.
        """
        if (artifact := super().find(stage, digest)) or self.remote is None or not self.remote.has(stage, digest):
            return artifact
        with disk_errors(self.root), build_lock(self.root, digest):
            return self._find_locked(stage, digest) or self._fetch(stage, digest)

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
            if not rebuild and (artifact := self._find_whole(stage, digest)):
                return self._shared(Built(artifact, reused=True))
            work = self.root / WORK / (digest if resumable else f"{ONCE}{digest}")
            with build_lock(self.root, digest):
                # Another process may have built it while this one waited for the lock.
                if not rebuild and (artifact := self._find_locked(stage, digest)):
                    return Built(artifact, reused=True)
                self._set_aside(stage, digest)
                if not rebuild and (artifact := self._fetch(stage, digest)):
                    return Built(artifact, reused=True)
                if rebuild or not resumable:
                    shutil.rmtree(work, ignore_errors=True)
                work.mkdir(exist_ok=True)
                started, began = time.time(), time.monotonic()  # the clock may be set meanwhile
                facts = dict(make(work))
                identity = {"stage": stage, "version": version, "options": dict(options), "inputs": dict(inputs)}
                record = {"facts": facts, "seconds": round(time.monotonic() - began, 3), "created": started}
                final = self.root / stage / digest
                seen = publish(work, final, {**identity, **record, "environment": environment or {}})
                self._contents.remember(final, seen)
        return self._shared(Built(self.open(stage, digest), reused=False))

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
            lock = work.with_name(f"{work.name.removeprefix(ONCE)}.lock")
            with suppress(Timeout, OSError), FileLock(lock, timeout=0):
                shutil.rmtree(work, ignore_errors=True)
                gone.append(work)
        return gone

    def _find_locked(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact, or None if it is missing or damaged (logged), while this process holds its lock."""
        try:
            return self._checked(self._noted(stage, digest))
        except Damaged as error:
            log.warning("%s", error)
            return None

    def _find_whole(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact from here, or None if it is missing or damaged; damage is handled under the lock."""
        with suppress(Damaged):
            return super().find(stage, digest)
        return None

    def _fetch(self, stage: str, digest: str) -> Artifact | None:
        """Return the artifact, downloaded from the remote store, while this process holds its lock; None if absent."""
        final = self.root / stage / digest
        if self.remote is None or final.exists():
            return None
        seen = self.remote.fetch(stage, digest, self.root / WORK / f"{ONCE}{digest}", final)
        if seen is None:
            return None
        self._contents.remember(final, seen)
        return self._noted(stage, digest)

    def _shared(self, built: Built) -> Built:
        """Upload a result to the remote store, if that does not have it."""
        if self.remote is not None:
            self.remote.offer(built.artifact, built=not built.reused)
        return built

    def _set_aside(self, stage: str, digest: str) -> None:
        folder = self.root / stage / digest
        if folder.exists():
            aside = self.root / ASIDE / f"{stage}-{digest}-{time.time_ns()}"
            aside.parent.mkdir(exist_ok=True)
            folder.rename(aside)
            log.info("%s: the previous result is kept in %s", stage, aside)
