"""A stream in which one can go back: Parquet and zip have their table of contents at the end."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from core.errors import disk_errors

IN_MEMORY = 256 << 20
"""Bytes of a packed member that are held; of a larger one there is a temporary file without a name."""
PIECE = 1 << 20


@contextmanager
def seekable(stream: io.BufferedReader) -> Iterator[IO[bytes]]:
    """Yield the stream itself where it is a plain file, else a copy of what is left of it.

    Unpacking streams may be able to seek too, but start from the beginning whenever they go backwards.

    Raises:
        StoreFull, NotWritable: The folder of temporary files.
    """
    if isinstance(stream.raw, io.FileIO):
        yield stream
        return
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as copy:
        with disk_errors(tempfile.gettempdir(), "free some space, or name another folder in TMPDIR"):
            shutil.copyfileobj(stream, copy, PIECE)
        copy.seek(0)
        yield cast(IO[bytes], copy)
