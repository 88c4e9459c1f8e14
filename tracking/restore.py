"""Restore a backup into a folder that appears only after every file has matched its checksum."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from core.environment import make_private
from core.errors import ConfigError, Damaged, Unreadable, disk_errors
from core.output import require_folder
from tracking.backup import FORMAT, MANIFEST

BLOCK = 1 << 20
OF_NAMES = (errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR,
            errno.ENOTEMPTY)  # fmt: skip
"""What the operating system says of names in an archive that cannot be files of one folder."""
PREFECT_DATABASE = Path("prefect", "prefect.db")
MOST_MANIFEST = 1 << 30
"""Bytes of a manifest: some 150 for each file."""


def restore_backup(archive: Path, home: Path, report: Callable[[int], object] = lambda done: None) -> dict[str, Any]:
    """Unpack a backup beside *home*, compare every file with the manifest, and rename the folder to *home*.

    Args:
        archive: Written by `write_backup`.
        home: A folder that does not exist or is empty.
        report: Called with the bytes done after each file.

    Returns:
        home, files, content_bytes, former (the path of the home that was backed up), without_store, runs_commands
        (whether it has a database of Prefect, whose deployments say which commands a worker runs).

    Raises:
        ConfigError: The folder is not empty.
        Unreadable: It is no whole backup, or a name in it leads out of the folder.
        Damaged: A file differs from its checksum.
        StoreFull, NotWritable: The disk.
    """
    make_private()  # folders too are for their owner only
    home = home.absolute()
    if os.path.lexists(home) and (home.is_symlink() or not home.is_dir() or any(home.iterdir())):
        raise ConfigError("A backup is restored into an empty or new folder only", where="--home", value=home,
                          remedy="name another folder, or move this one away")  # fmt: skip
    if not archive.is_file():
        raise Unreadable("There is no such file", where=archive, remedy="check the spelling and the working directory")
    require_folder(home.parent, "--home")
    with disk_errors(home.parent, "name another folder"):
        scratch = Path(tempfile.mkdtemp(prefix=f".{home.name}-restored-", dir=home.parent))
        try:
            with _hostile_content(archive):
                manifest, done = _unpacked(archive, scratch, report)
            os.sync()
            scratch.rename(home)  # an empty folder with this name is replaced
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return {
        "home": str(home), "files": len(manifest["files"]), "content_bytes": done, "former": str(manifest["home"]),
        "without_store": bool(manifest["without_store"]), "runs_commands": (home / PREFECT_DATABASE).exists(),
    }


@contextmanager
def _hostile_content(archive: Path) -> Iterator[None]:
    """Say that an archive is no backup where what it holds makes Python or the operating system refuse.

    Names that are too long or are a file and a folder, numbers out of range, text that is none: a backup has none of
    these, so who made the archive has not made it with `reviewlm home backup`.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.errno not in OF_NAMES:
            raise  # of the disk
        raise _not_a_backup(archive, str(error)) from error
    except (ValueError, OverflowError, TypeError, RecursionError, MemoryError, tarfile.TarError) as error:
        raise _not_a_backup(archive, f"{type(error).__name__} {error}") from error


def _unpacked(archive: Path, folder: Path, report: Callable[[int], object]) -> tuple[dict[str, Any], int]:
    """Unpack all files of an archive and return its manifest, with which they agree, and their size."""
    files: dict[str, tuple[int, str]] = {}
    manifest: dict[str, Any] | None = None
    done = 0
    with _tar_from(archive) as tar:
        for member in tar:
            if manifest is not None:
                raise _not_a_backup(archive, f"{member.name!r} follows the manifest")
            if member.name == MANIFEST:
                manifest = _manifest_of(tar, member, archive)
                continue
            _require_safe(member, folder, archive)
            files[member.name] = _unpack(tar, member, folder / member.name, archive)
            report(done := done + member.size)
    if manifest is None:
        raise _not_a_backup(archive, "it has no manifest at its end")
    _require_equal(files, manifest["files"], archive)
    return manifest, done


@contextmanager
def _tar_from(path: Path) -> Iterator[tarfile.TarFile]:
    """Read an archive, packed or not, whatever its name is.

    Raises:
        Unreadable: It cannot be opened, or is cut off or damaged.
    """
    try:
        with tarfile.open(path, "r|*", bufsize=BLOCK) as tar:
            yield tar
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _not_a_backup(path, str(error) or type(error).__name__) from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        if error.filename not in (path, str(path)):
            raise
        raise Unreadable("The backup cannot be read", where=path, cause=str(error)) from error


def _not_a_backup(path: Path, cause: str) -> Unreadable:
    return Unreadable(
        "This is not a whole backup of reviewlm", where=path, cause=cause,
        remedy="use another backup; a copy that was cut off has another size than its original",
    )


def _require_safe(member: tarfile.TarInfo, folder: Path, archive: Path) -> None:
    """Refuse everything but regular files with plain names below the folder."""
    name = PurePosixPath(member.name)
    tricks = name.is_absolute() or ".." in name.parts or not name.parts or "\\" in member.name or "\0" in member.name
    if tricks or not member.isreg() or member.issparse():
        what = "is a link or a device" if not member.isreg() else "leads out of the folder"
        raise _not_a_backup(archive, f"{member.name[:200]!r} {what}")
    try:
        tarfile.data_filter(member, str(folder))
    except tarfile.FilterError as error:
        raise _not_a_backup(archive, str(error)) from error


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, archive: Path) -> tuple[int, str]:
    """Write one file that only its owner may read; return its size and SHA-256."""
    source, digest, size = tar.extractfile(member), hashlib.sha256(), 0
    if source is None:
        raise _not_a_backup(archive, f"{member.name!r} has no content")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        while block := source.read(BLOCK):
            file.write(block)
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _manifest_of(tar: tarfile.TarFile, member: tarfile.TarInfo, archive: Path) -> dict[str, Any]:
    source = tar.extractfile(member) if member.isreg() and member.size <= MOST_MANIFEST else None
    try:
        manifest = json.loads(source.read() if source else b"")
        if manifest["format"] != FORMAT:
            raise _not_a_backup(archive, f"its format is {manifest['format']!r}; this version reads {FORMAT}")
        files = manifest["files"].items()
        entries = {str(name): {"bytes": int(of["bytes"]), "sha256": str(of["sha256"])} for name, of in files}
        return {**manifest, "files": entries, "home": str(manifest["home"]), "without_store": manifest["without_store"]}
    except (LookupError, AttributeError, TypeError) as error:
        raise _not_a_backup(archive, f"its manifest cannot be read: {type(error).__name__} {error}") from error


def _require_equal(unpacked: dict[str, tuple[int, str]], listed: dict[str, dict[str, Any]], archive: Path) -> None:
    """Compare names, sizes and checksums of the unpacked files with the manifest."""
    expected = {name: (entry["bytes"], entry["sha256"]) for name, entry in listed.items()}
    if unpacked == expected:
        return
    name = next(name for name in sorted({*unpacked, *expected}) if unpacked.get(name) != expected.get(name))
    state = "missing" if name not in unpacked else "not in the manifest" if name not in expected else "changed"
    raise Damaged("A file of the backup is damaged", where=f"{archive}: {name}", cause=f"it is {state}",
                  remedy="use another backup; nothing was restored")  # fmt: skip
