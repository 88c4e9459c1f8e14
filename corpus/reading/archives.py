"""Unpack compressed streams and archives, with a limit on their size and one error class for damage.

A tar archive is read in one pass, without trusting the sizes in its headers. `tarfile` trusts the headers. A sparse
member of two kilobytes can expand to terabytes of zeros, and one with an overlapping map is read without end. A header
can announce an attachment of any length. All headers are kept in memory. A stream is made seekable for Parquet and zip,
which have their table of contents at the end.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, cast

import polars as pl

from reviewlm.core.errors import InputError, Unreadable, disk_errors
from reviewlm.corpus.reading.foreign import FOLLOWED
from reviewlm.corpus.reading.member_names import BROTLI, looks_like_data, printable
from reviewlm.corpus.schema import ReadingOptions

BUFFER = 1 << 20
LAYERS = 8
"""Largest number of nested packings of a file; some archives contain themselves."""
ZIP = b"PK\x03\x04"
JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*"|\[\s*\{)')
ATTACHED = 1 << 20
"""Largest attachment of a header (a long name or a table of attributes), in bytes."""
MOST_EMPTY_READS = 16
"""Number of empty reads in a row that are allowed at the end of an archive."""
_ATTACHMENTS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
IMPOSSIBLE = (
    tarfile.HeaderError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    RecursionError,
    struct.error,
)
"""Errors that `tarfile` raises for headers with invalid numbers, negative sizes, or headers nested without end."""
IN_MEMORY = 256 << 20
"""Largest copy kept in memory, in bytes; a larger one goes to a temporary file without a name."""
PIECE = 1 << 20
PACK_MARK = ".reviewlm-small-files"
"""Name of the first member of an archive of small files that we made (`reviewlm.corpus.reading.sources`)."""


class Damage(Exception):
    """An error of an unpacking library, of any class."""


DAMAGED = (
    Damage,
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)
"""Errors that damaged bytes can cause. The PanicException of polars is not a subclass of `Exception`."""


@contextmanager
def library() -> Iterator[None]:
    """Convert any error of an unpacking library to `Damage`; wrap calls of libraries only, never our own code."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:  # the head of an LZMA stream may ask for a dictionary of 4 GiB
        raise Damage("to unpack it takes more memory than there is") from error
    except OSError as error:
        if error.filename is not None:
            raise  # an error of the disk, not of the content
        raise Damage(str(error)) from error
    except Exception as error:
        raise Damage(str(error) or type(error).__name__) from error


def unpacker_of(head: bytes) -> Callable[[IO[bytes]], IO[bytes]] | None:
    """Return the function that unpacks a stream with these first bytes, or None if it is not compressed."""
    return next(
        (unpacker for magic, unpacker in _UNPACKERS.items() if head.startswith(magic)), None
    )


@contextmanager
def open_unpacked(
    unpacker: Callable[[IO[bytes]], IO[bytes]], stream: IO[bytes]
) -> Iterator[IO[bytes]]:
    """Yield the stream that an unpacker makes, and close it afterwards.

    A stream of pyarrow must not be left to garbage collection: it calls Python code to close itself, and if that
    happens at the limit of recursion, pyarrow ends the process with a segmentation fault.
    """
    with library():
        content = unpacker(stream)
    try:
        yield content
    finally:
        with suppress(Exception):  # an error of damaged content has been raised by reading it
            content.close()


class Unpacked(io.RawIOBase):
    """The unpacked content of a packed stream, up to a limit, because a few kilobytes can unpack to petabytes.

    Args:
        stream: The stream that an unpacker returned.
        source: The name of the packed file.
        options: Creates the error when the limit is exceeded.
        room: Largest number of unpacked bytes.
    """

    def __init__(
        self,
        stream: IO[bytes],
        source: str,
        options: ReadingOptions,
        room: int,
    ) -> None:
        self.stream = stream
        self.source = source
        self.options = options
        self.room = room
        self.given = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; raise Unreadable beyond the limit."""
        with library():
            content = self.stream.read(len(buffer))
        buffer[: len(content)] = content
        self.given += len(content)
        if self.given > self.room:
            raise self.options.too_much(self.source, self.room)
        return len(content)


@contextmanager
def uncompressed_stream(
    stream: io.BufferedReader[Any],
    name: str,
    options: ReadingOptions,
    room: int,
) -> Iterator[io.BufferedReader[Any]]:
    """Yield a stream without its layers of compression, none of which may give more than *room* bytes.

    Args:
        name: Name of the packed file.

    Raises:
        Unreadable: There are more than `LAYERS`.
    """
    with ExitStack() as streams:
        for layer in range(LAYERS + 1):
            unpacker = unpacker_of(stream.peek(512))
            if unpacker is None and not layer and name.lower().endswith(BROTLI):
                unpacker = _brotli
            if not unpacker:
                yield stream
                return
            content = streams.enter_context(open_unpacked(unpacker, stream))
            stream = io.BufferedReader(Unpacked(content, name, options, room), BUFFER)
        raise too_many_layers(name)


def too_many_layers(name: str) -> Unreadable:
    """Return the error for a file that is packed in itself."""
    return Unreadable(
        "The file is compressed too many times",
        where=name,
        value=f"more than {LAYERS} layers",
        cause="it may be a decompression bomb",
        remedy="unpack it first, if you trust it",
    )


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    import pyarrow  # Python's standard library has zstd only from version 3.14

    return cast(IO[bytes], pyarrow.CompressedInputStream(stream, "zstd"))


def _brotli(stream: IO[bytes]) -> IO[bytes]:
    import pyarrow

    return cast(IO[bytes], pyarrow.CompressedInputStream(stream, "brotli"))


class _Following:
    """Compressed streams that follow each other in a file, with padding of zeros between them or after the last.

    Python's `LZMAFile` and `BZ2File` stop without a word at anything after the first that is no stream: padding, or a
    damaged head, would lose all that follows.

    Args:
        new: `bz2.BZ2Decompressor` or `lzma.LZMADecompressor`.
        magic: First bytes of each stream.
    """

    def __init__(
        self,
        stream: IO[bytes],
        new: Callable[[], Any],
        magic: bytes,
    ) -> None:
        self.stream = stream
        self.new = new
        self.magic = magic
        self.current = new()

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most *size*; empty at the end."""
        while True:
            if self.current.eof:
                packed = self._after_padding(self.current.unused_data)
                if not packed:
                    return b""
                packed += self.stream.read(max(0, len(self.magic) - len(packed)))
                if not packed.startswith(self.magic):
                    raise Damage(FOLLOWED)
                self.current = self.new()
            else:
                packed = b""
                if self.current.needs_input:
                    packed = self.stream.read(BUFFER)

                if self.current.needs_input and not packed:
                    raise EOFError("it ends within a compressed stream")
            if content := self.current.decompress(packed, size):
                return cast(bytes, content)

    def _after_padding(self, packed: bytes) -> bytes:
        while not (packed := packed.lstrip(b"\0")):
            packed = self.stream.read(BUFFER)
            if not packed:
                return b""
        return packed

    def close(self) -> None:
        """Do nothing: the packed stream belongs to the caller."""


_UNPACKERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"BZh": lambda stream: _Following(stream, bz2.BZ2Decompressor, b"BZh"),
    b"\xfd7zXZ\x00": lambda stream: _Following(stream, lzma.LZMADecompressor, b"\xfd7zXZ\x00"),
    b"\x28\xb5\x2f\xfd": _zstd,
    **{bytes([sign]) + b"\x2a\x4d\x18": _zstd for sign in range(0x50, 0x60)},
}
"""First bytes of compressed files, with the function that unpacks them; the last are skippable frames, as of pzstd."""


def holds_data(head: bytes) -> bool:
    """Return whether the first bytes are those of a packed file, of Parquet or of JSON, whatever the file's name is."""
    packed = unpacker_of(head) is not None or is_tar(head) or head.startswith(ZIP)
    return packed or head.startswith(b"PAR1") or JSON.match(head) is not None


def is_tar(head: bytes) -> bool:
    """Return whether these are the first 512 bytes of a tar; the zero tells it from a text with mustard in it."""
    return head[257:265].startswith((b"ustar\0", b"ustar  \0"))


class _Header(tarfile.TarInfo):
    """The header of a member; for an unreadable header `tarfile` itself would silently drop the rest of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Header:
        """Read the next header; raise ReadError if it is damaged or the archive stops without an end marker."""
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed has only its base class
            raise
        except IMPOSSIBLE as error:
            what = str(error) or type(error).__name__
            raise tarfile.ReadError(f"the head of a member cannot be read: {what}") from error

    @classmethod
    def frombuf(
        cls,
        buf: bytes | bytearray,
        encoding: str,
        errors: str,
    ) -> _Header:
        """Read one block; raise ValueError if the size is impossible."""
        head = super().frombuf(buf, encoding, errors)
        if head.size < 0 or (head.type in _ATTACHMENTS and head.size > ATTACHED):
            raise ValueError(f"its size is {head.size}")
        return head


class _Ending:
    """A stream that reports its end: `tarfile` would skip a member of exabytes block by block after the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.empty = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes; raise ReadError after several empty reads in a row."""
        content = self.stream.read(size)
        self.empty = 0 if content else self.empty + 1
        if self.empty > MOST_EMPTY_READS:
            raise tarfile.ReadError("it ends within a member")
        return content


def tar_members(
    stream: IO[bytes],
    archive: str,
    accepts: Callable[[str], bool],
    not_files: list[str] | None = None,
) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of the wanted files; read each content before asking for the next.

    Args:
        stream: The archive; it is read forwards only.
        archive: Its name.
        accepts: Returns whether a file with this name is wanted; asked once for each file.
        not_files: Gets the names of links and pipes that are named like reviews.

    Raises:
        Unreadable: A wanted file is sparse.
        tarfile.TarError, OSError: The archive is damaged.
    """
    with tarfile.open(
        fileobj=cast(IO[bytes], _Ending(stream)),
        mode="r|",
        tarinfo=_Header,
    ) as members:
        while (member := members.next()) is not None:
            members.members.clear()  # type: ignore[attr-defined]  # otherwise it keeps all headers in memory
            if not member.isfile():
                if not_files is not None and not member.isdir() and looks_like_data(member.name):
                    not_files.append(printable(member.name))
                continue

            if not accepts(member.name):
                continue
            if member.issparse():
                raise Unreadable(
                    "A member of the archive is sparse",
                    where=f"{archive}:{printable(member.name)}",
                    value=f"{member.size:,} bytes",
                    cause="most of it is holes without text",
                    remedy="pack it again without --sparse",
                )

            content = members.extractfile(member)
            if content is not None:
                yield member.name, content


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


def is_pack(head: bytes) -> bool:
    """Return whether these are the first bytes of an archive of small files that we made."""
    return head.startswith(PACK_MARK.encode() + b"\0")
