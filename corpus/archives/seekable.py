"""Make a stream seekable, because Parquet and zip have their table of contents at the end."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from core.errors import disk_errors

IN_MEMORY = 256 << 20
"""Largest copy kept in memory, in bytes; a larger one goes to a temporary file without a name."""
PIECE = 1 << 20


@contextmanager
def seekable(stream: io.BufferedReader) -> Iterator[IO[bytes]]:
    """Yield the stream itself if it is a plain file, otherwise a copy of its remaining bytes.

    Unpacking streams may be able to seek too, but each step backwards unpacks again from the beginning.

    Raises:
        StoreFull, NotWritable: The folder for temporary files cannot be written.
    """
    if isinstance(stream.raw, io.FileIO):
        yield stream
        return
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as copy:
        with disk_errors(tempfile.gettempdir(), "name another folder in TMPDIR"):
            shutil.copyfileobj(stream, copy, PIECE)
        copy.seek(0)
        yield cast(IO[bytes], copy)
