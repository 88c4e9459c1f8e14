"""The files in a tar archive, in one pass, whatever its heads claim.

`tarfile` trusts what it reads: a sparse member of two kilobytes stands for terabytes of zeros (and one whose map
overlaps is read for ever), a head may announce an attachment of any length, and all heads are kept in memory.
"""

from __future__ import annotations

import logging
import struct
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, cast

from core.errors import Unreadable
from corpus.reading.names import printable

log = logging.getLogger(__name__)

ATTACHED = 1 << 20
"""Most bytes of what a head may bring along: a long name, or a table of attributes."""
MANY = 16
"""Reads that may find nothing at the end of an archive."""
_ATTACHMENTS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)


IMPOSSIBLE = (tarfile.HeaderError, ValueError, TypeError, LookupError, OverflowError, RecursionError, struct.error)
"""What `tarfile` raises at heads with numbers that are none, sizes below 0, or heads within heads without end."""


class _Header(tarfile.TarInfo):
    """The head of a member. Where none can be read `tarfile` would take the archive for ended, and lose the rest."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Header:
        """Read the next head; ReadError where it is damaged, or the archive stops without saying that it ends."""
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed has only the class above it
            raise
        except IMPOSSIBLE as error:
            what = str(error) or type(error).__name__
            raise tarfile.ReadError(f"the head of a member cannot be read: {what}") from error

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        """Read one block; ValueError where the size is impossible."""
        head = super().frombuf(buf, encoding, errors)
        if head.size < 0 or (head.type in _ATTACHMENTS and head.size > ATTACHED):
            raise ValueError(f"its size is {head.size}")
        return head


class _Ending:
    """A stream that says when it has ended: `tarfile` passes over a member of exabytes block by block, also then."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.empty = stream, 0

    def read(self, size: int) -> bytes:
        """Return the next bytes; ReadError where there have been none several times."""
        content = self.stream.read(size)
        self.empty = 0 if content else self.empty + 1
        if self.empty > MANY:
            raise tarfile.ReadError("it ends within a member")
        return content


def tar_members(
    stream: IO[bytes], archive: str, wanted: Callable[[str], bool], found: list[str]
) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of the wanted files; each content is read before the next is asked for.

    Args:
        stream: The archive; it is read forwards only.
        archive: Its name.
        wanted: Tells by the name.
        found: The names of all files are added here.

    Raises:
        Unreadable: A wanted file is sparse.
        tarfile.TarError, OSError: The archive is damaged.
    """
    with tarfile.open(fileobj=cast(IO[bytes], _Ending(stream)), mode="r|", tarinfo=_Header) as members:
        while (member := members.next()) is not None:
            members.members.clear()  # type: ignore[attr-defined]  # it would keep all heads
            if (member.issym() or member.islnk()) and wanted(member.name):
                log.warning("%s: %s is a link, which is not followed", archive, printable(member.name))
            if not member.isfile():
                continue
            found.append(member.name)
            if not wanted(member.name):
                continue
            if member.issparse():
                raise Unreadable(
                    "A member of the archive is sparse", where=f"{archive}:{printable(member.name)}",
                    value=f"{member.size:,} bytes", cause="most of it is holes, which are no text",
                    remedy="pack it again without --sparse",
                )
            content = members.extractfile(member)
            if content is not None:
                yield member.name, content
