"""Share finished results with other machines through a remote store, like the remote cache of a build system.

A result is the objects below `<stage>/<digest>/`: its manifest, and each of its files under the SHA-256 of its content.
So machines that upload one result at the same time never mix their files. The manifest is written last: a result
without it is not there. Nothing that comes from the remote store is trusted: the manifest must have the digest that was
asked for, and every file the size and SHA-256 of the manifest, before a rename gives the result its name in the store.

A remote store that fails never stops a run. It is reported once, and not asked again for some minutes.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from core.content_check import Seen
from core.errors import FULL
from core.manifest import MANIFEST, read_manifest
from core.storing.finished import DIGEST_LENGTH, Artifact, digest_of, publish
from core.storing.objects import FolderObjects, NotThere, Objects, RemoteError, folder_of

T = TypeVar("T")
READ, WRITE = "read", "written"
PAUSE = 300.0
"""Seconds for which a remote store that failed is not asked again."""
MOST_MANIFEST = 64 << 20
"""Bytes of a manifest: some 150 for each file."""
THREADS = 4
"""Files of a result that are transferred at the same time."""
DIGEST, SHA256 = re.compile(f"[0-9a-f]{{{DIGEST_LENGTH}}}"), re.compile("[0-9a-f]{64}")
PROBE = "reviewlm-check"
"""Key of the object that `reviewlm doctor` writes."""
log = logging.getLogger(__name__)


@cache
def remote_store(address: str) -> RemoteStore | None:
    """Return the remote store at an address, one for each process; None for an empty address."""
    if not address:
        return None
    if address.startswith("file:"):
        return RemoteStore(address, FolderObjects(folder_of(address)))
    from core.storing.objects import StoredObjects  # of an optional package

    return RemoteStore(address, StoredObjects(address))


class RemoteStore:
    """The finished results below one address.

    Args:
        address: For messages.
        objects: Its objects.
    """

    def __init__(self, address: str, objects: Objects) -> None:
        self.address, self.objects = address, objects
        self._there: set[tuple[str, str]] = set()
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def has(self, stage: str, digest: str) -> bool:
        """Return whether a result is there; False also if the remote store does not answer."""
        there = False
        if DIGEST.fullmatch(digest) and self._is_open(READ):
            with self._pausing(READ):
                there = (stage, digest) in self._there or self.objects.exists(f"{stage}/{digest}/{MANIFEST}")
        return there

    def fetch(self, stage: str, digest: str, work: Path, final: Path) -> dict[str, Seen] | None:
        """Download a result into the folder *work*, check all of it, and rename the folder to *final*.

        Returns:
            The records of its files; None if it is not there or damaged, or the remote store does not answer.

        Raises:
            OSError: The local disk.
        """
        if not self._is_open(READ):
            return None
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        with self._pausing(READ):
            try:
                manifest = self._manifest(stage, digest, work / MANIFEST)
                if manifest is None:
                    return None
                self._download(f"{stage}/{digest}", manifest["files"], work)
                seen = publish(work, final, manifest)
            except (NotThere, ValueError, KeyError, TypeError, AttributeError) as error:
                log.warning(
                    "The result %s of '%s' in the remote store %s is damaged: %s. It is built here and replaced there",
                    digest, stage, self.address, str(error) or type(error).__name__,
                )
                return None
            finally:
                shutil.rmtree(work, ignore_errors=True)
            self._there.add((stage, digest))
            return seen
        return None

    def offer(self, artifact: Artifact, built: bool) -> None:
        """Upload a result if it is not there, or has just been built and replaces a missing or damaged one."""
        result = artifact.stage, artifact.digest
        if not self._is_open(READ) or not self._is_open(WRITE) or (result in self._there and not built):
            return
        with self._pausing(READ):
            if not built and self.objects.exists(f"{artifact.stage}/{artifact.digest}/{MANIFEST}"):
                self._there.add(result)
                return
            with self._pausing(WRITE):
                self._upload(artifact)
                self._there.add(result)

    def _manifest(self, stage: str, digest: str, file: Path) -> dict[str, Any] | None:
        """Write the manifest of a result to a file and return it if it is that of this digest; None if there is none.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: It is damaged, or of another result.
        """
        try:
            self._save(f"{stage}/{digest}/{MANIFEST}", file, MOST_MANIFEST)
        except NotThere:
            return None
        manifest = read_manifest(file)
        if digest_of(stage, manifest["version"], manifest["options"], manifest["inputs"]) != digest:
            raise ValueError("its manifest is that of another result")
        for name, entry in manifest["files"].items():
            if not SHA256.fullmatch(entry["sha256"]):
                raise ValueError(f"{name[:60]!r} has no valid SHA-256")
        return manifest

    def _download(self, place: str, files: Mapping[str, Mapping[str, Any]], work: Path) -> None:
        def download(name: str) -> None:
            self._save(f"{place}/{files[name]['sha256']}", work / name, files[name]["bytes"])

        _for_each(download, files)

    def _save(self, key: str, path: Path, most: int) -> None:
        """Write an object of at most *most* bytes to a new file.

        Raises:
            ValueError: It is larger, or the manifest gives the file a name that cannot be one.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("xb")
        except OSError as error:
            if error.errno in FULL:
                raise
            raise ValueError(f"{path.name[:60]!r} cannot be the name of a file: {error.strerror}") from error
        with file:
            for block in self.objects.read(key):
                if file.tell() + len(block) > most:
                    raise ValueError(f"{path.name[:60]!r} has more than {most} bytes")
                file.write(block)

    def _upload(self, artifact: Artifact) -> None:
        """Upload the files of a result, then its manifest."""
        place, files = f"{artifact.stage}/{artifact.digest}", artifact.manifest["files"]

        def upload(name: str) -> None:
            self.objects.write(f"{place}/{files[name]['sha256']}", artifact.folder / name)

        _for_each(upload, files)
        self.objects.write(f"{place}/{MANIFEST}", artifact.folder / MANIFEST)

    def _is_open(self, way: str) -> bool:
        return time.monotonic() >= self._until.get(way, 0.0)

    @contextmanager
    def _pausing(self, way: str) -> Iterator[None]:
        """After a failure, go on and do not read or write for some minutes; only the first failure is a warning."""
        try:
            yield
        except RemoteError as error:
            with self._lock:
                level = logging.DEBUG if way in self._until else logging.WARNING
                self._until[way] = time.monotonic() + PAUSE
            log.log(
                level, "The remote store %s cannot be %s: %s. The run goes on; %s", self.address, way, error,
                "results are built here" if way == READ else "the next run uploads what is missing",
            )


def _for_each(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Call *work* for each item in a few threads; the first error ends it."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        for _ in pool.map(work, items):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
