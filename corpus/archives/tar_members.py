"""Read the files of a tar archive in one pass, without trusting the sizes in its headers.

`tarfile` trusts the headers. A sparse member of two kilobytes can expand to terabytes of zeros, and one with an
overlapping map is read without end. A header can announce an attachment of any length. All headers are kept in memory.
"""

from __future__ import annotations

import logging
import struct
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, cast

from core.errors import Unreadable
from corpus.archives.names import looks_like_data, printable

log = logging.getLogger(__name__)

ATTACHED = 1 << 20
"""Largest attachment of a header (a long name or a table of attributes), in bytes."""
MANY = 16
"""Number of empty reads in a row that are allowed at the end of an archive."""
_ATTACHMENTS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)


IMPOSSIBLE = (tarfile.HeaderError, ValueError, TypeError, LookupError, OverflowError, RecursionError, struct.error)
"""Errors that `tarfile` raises for headers with invalid numbers, negative sizes, or headers nested without end."""


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
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """Read one block; raise ValueError if the size is impossible."""
        head = super().frombuf(buf, encoding, errors)
        if head.size < 0 or (head.type in _ATTACHMENTS and head.size > ATTACHED):
            raise ValueError(f"its size is {head.size}")
        return head


class _Ending:
    """A stream that reports its end: `tarfile` would skip a member of exabytes block by block after the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.empty = stream, 0

    def read(self, size: int) -> bytes:
        """Return the next bytes; raise ReadError after several empty reads in a row."""
        content = self.stream.read(size)
        self.empty = 0 if content else self.empty + 1
        if self.empty > MANY:
            raise tarfile.ReadError("it ends within a member")
        return content


def tar_members(
    stream: IO[bytes], archive: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of the wanted files; read each content before asking for the next.

    Args:
        stream: The archive; it is read forwards only.
        archive: Its name.
        wanted: Returns whether a file with this name is wanted; asked once for each file.

    Raises:
        Unreadable: A wanted file is sparse.
        tarfile.TarError, OSError: The archive is damaged.
    """
    with tarfile.open(fileobj=cast(IO[bytes], _Ending(stream)), mode="r|", tarinfo=_Header) as members:
        while (member := members.next()) is not None:
            members.members.clear()  # type: ignore[attr-defined]  # otherwise it keeps all headers in memory
            if (member.issym() or member.islnk()) and looks_like_data(member.name):
                log.warning("%s: %s is a link, which is not followed; put the file itself into the archive",
                            archive, printable(member.name))  # fmt: skip
            if not member.isfile():
                continue
            if not wanted(member.name):
                continue
            if member.issparse():
                raise Unreadable(
                    "A member of the archive is sparse", where=f"{archive}:{printable(member.name)}",
                    value=f"{member.size:,} bytes", cause="most of it is holes without text",
                    remedy="pack it again without --sparse",
                )
            content = members.extractfile(member)
            if content is not None:
                yield member.name, content
