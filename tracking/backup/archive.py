"""Open archives for `reviewlm home backup` and `reviewlm home restore`: tar, plain or packed with gzip or zstd."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from core.errors import ConfigError, Unreadable

ENDINGS = {".tar": "", ".tar.gz": "gzip", ".tgz": "gzip", ".tar.zst": "zstd"}
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
MANIFEST = "reviewlm-backup.json"
"""The last member: all others with size and SHA-256. An archive without it was cut off."""
FORMAT = 1


def packing_of(path: Path) -> str:
    """Return "", "gzip" or "zstd" by the ending of a file name.

    Raises:
        ConfigError: Another ending.
    """
    for ending, packing in ENDINGS.items():
        if path.name.endswith(ending):
            return packing
    raise ConfigError(
        "The name of a backup ends with .tar, .tar.gz or .tar.zst", where="--to", value=path,
        remedy=f"for example {path.name}.tar.zst",
    )


@contextmanager
def tar_to(file: IO[bytes], packing: str) -> Iterator[tarfile.TarFile]:
    """Write an archive into an open file."""
    if not packing:
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            yield tar
    elif packing == "gzip":
        with (
            gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, filename="") as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            yield tar
    else:
        import pyarrow  # Python's standard library has zstd only from version 3.14

        kept_open = pyarrow.PythonFile(_KeptOpen(file), mode="w")  # arrow closes the file that it writes to
        with (
            pyarrow.CompressedOutputStream(kept_open, "zstd") as packed,
            tarfile.open(fileobj=cast(IO[bytes], packed), mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            yield tar


class _KeptOpen:
    """A file for writing that another library cannot close."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self.write, self.flush = file.write, file.flush

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def tar_from(path: Path) -> Iterator[tarfile.TarFile]:
    """Read an archive, whatever its name is.

    Raises:
        Unreadable: It cannot be opened, or is cut off or damaged.
    """
    try:
        with path.open("rb") as file:
            packing = next((kind for magic, kind in MAGIC.items() if file.peek(4).startswith(magic)), "")
            if packing == "gzip":
                stream = cast(IO[bytes], gzip.GzipFile(fileobj=file))
            elif packing == "zstd":
                import pyarrow

                stream = cast(IO[bytes], pyarrow.CompressedInputStream(file, "zstd"))
            else:
                stream = file
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                yield tar
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise not_a_backup(path, str(error) or type(error).__name__) from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        if error.filename not in (path, str(path)):
            raise
        raise Unreadable("The backup cannot be read", where=path, cause=str(error)) from error


def not_a_backup(path: Path, cause: str) -> Unreadable:
    """Return the error for an archive that `reviewlm home backup` has not written, or not to its end."""
    return Unreadable(
        "This is not a whole backup of reviewlm", where=path, cause=cause,
        remedy="use another backup; a copy that was cut off has another size than its original",
    )
