"""Read any input file, packed or not, as a stream of blocks of typed records.

A file can be compressed (gzip, zstd, bzip2, xz), an archive (tar, zip), or both. Its content is in one of the formats
of `corpus.reading.formats`. Magic bytes decide how it is packed; the format follows from magic bytes, the suffix and
the first characters. Errors of the unpacking libraries about damaged bytes (`reviewlm.corpus.reading.archives`) become
`Unreadable` here.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

import polars as pl

from reviewlm.core.errors import EmptyInput, InputError, MissingColumn, Unreadable
from reviewlm.corpus.account import Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.reading import archives, foreign, member_names
from reviewlm.corpus.reading.convert import CERTAIN_ID, DERIVED_ID
from reviewlm.corpus.reading.field_names import folder_fields
from reviewlm.corpus.reading.formats import format_of, read_stream, read_together
from reviewlm.corpus.reading.json_refusals import require_no_table
from reviewlm.corpus.reading.lines import BOM
from reviewlm.corpus.reading.table_formats import require_no_table_format
from reviewlm.corpus.schema import COLUMNS, Block, Problem, ReadingOptions, Reason, quarantine

ENCRYPTED = 0x1
"""Flag of a zip member (APPNOTE 4.4.4, bit 0)."""
HEAD = 64 << 10
"""Bytes at the beginning of a file that can tell its format."""
NAMED = 20
"""Largest number of members listed in an error."""


@dataclass
class Progress:
    """Progress of the reading, in bytes of the files on disk."""

    bytes_before: int = 0
    file: IO[bytes] | None = None

    @property
    def bytes_done(self) -> int:
        """Bytes of the finished files and of the part read from the current file."""
        return self.bytes_before + (self.file.tell() if self.file and not self.file.closed else 0)


@dataclass(frozen=True)
class _Place:
    """Position of a stream in nested packings: its name, the bytes it may give, the layers that may still follow."""

    name: str
    options: ReadingOptions
    room: int
    layers: int = archives.LAYERS

    def inside(self, name: str, room: int | None = None) -> _Place:
        """Return the place one archive deeper; raise Unreadable if there are too many."""
        if not self.layers:
            raise archives.too_many_layers(self.name)
        room = self.room if room is None else room
        return replace(
            self,
            name=name,
            room=room,
            layers=self.layers - 1,
        )


def read(
    path: Path,
    name: str,
    options: ReadingOptions,
    progress: Progress,
) -> Iterator[Block]:
    """Yield the blocks of a file, in order; the same file gives the same blocks.

    Args:
        name: Value of the column `source`.
        progress: Updated while the file is read.

    Raises:
        Unreadable: The file is truncated or has no known format; the error gives the number of records read before.
        MissingColumn: The file has no text.
    """
    records = 0
    with _open(path) as file:
        progress.file = file
        size = os.fstat(file.fileno()).st_size
        try:
            for block in _unpack(file, _Place(name, options, options.room(size))):
                yield _with_ids_of_file(block) if options.ids == "per_file" else block
                records += block.records
        except InputError:
            raise
        except archives.DAMAGED as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # an error of the disk, not of the content
            if known := foreign.explain(str(error), path):
                raise known from error
            raise Unreadable(
                "The file is damaged or was cut off",
                where=path,
                value=f"{records} records were read before the damage",
                cause=str(error) or type(error).__name__,
                remedy="fetch or copy the file again; none of its records were kept",
            ) from error

        progress.file = None
        progress.bytes_before += size


def _with_ids_of_file(block: Block) -> Block:
    """Return a block whose ids have the name of their file before them, except those derived from the content."""
    name = pl.col("review_id")
    of_file = pl.concat_str("source", name, separator=":")
    derived = name.str.starts_with(DERIVED_ID) | name.str.starts_with(CERTAIN_ID)
    ids = pl.when(derived).then(name).otherwise(of_file).alias("review_id")
    return replace(block, good=block.good.with_columns(ids))


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb", buffering=HEAD)
    except OSError as error:
        raise Unreadable("The file cannot be opened", where=path, cause=str(error)) from error


def _unpack(file: IO[bytes] | io.RawIOBase, place: _Place) -> Iterator[Block]:
    """Yield the blocks of a stream, unpacked layer by layer; no layer may give more bytes than `place.room`."""
    with archives.uncompressed_stream(
        _buffer(file), place.name, place.options, place.room
    ) as stream:
        head = stream.peek(512)
        if archives.is_tar(head):
            yield from _pack(stream, place) if archives.is_pack(head) else _tar(stream, place)
        elif head.startswith(archives.ZIP):
            yield from _zip(stream, place)
        else:
            yield from read_stream(stream, place.name, place.options)


def _buffer(file: IO[bytes] | io.RawIOBase) -> io.BufferedReader:
    if isinstance(file, io.BufferedReader):
        return file
    return io.BufferedReader(cast(io.RawIOBase, file), archives.BUFFER)


class _Members:
    """The members of an archive: which are read, and what is left out."""

    def __init__(self, place: _Place) -> None:
        self.place = place
        self.read = 0
        self.left_out: list[str] = []
        self.not_files: list[str] = []
        self.refused: list[InputError] = []
        self.taken: dict[str, int] = {}

    def wanted(self, member: str) -> bool:
        """Return whether to look at a member, by its name."""
        require_no_table_format(self.place.name, [member])
        if member_names.looks_like_data(member) or member_names.may_be_data(member):
            return True
        self.left_out.append(member)
        return False

    def named(self, member: str) -> str:
        """Return the `source` value of a member; it is unique even if the archive holds one name twice."""
        return (
            f"{self.place.name}:{member_names.distinct(member_names.printable(member), self.taken)}"
        )

    def blocks(
        self,
        member: str,
        content: IO[bytes] | io.RawIOBase,
        place: _Place,
    ) -> Iterator[Block]:
        """Yield the records of a member; one that is another table is left out."""
        stream = _buffer(content)
        if member_names.may_be_data(member) and not archives.holds_data(stream.peek(512)):
            self.left_out.append(member)
            return

        try:
            yield from _unpack(stream, place)
            self.read += 1
        except (MissingColumn, EmptyInput) as error:
            if "review" in member.lower():
                raise
            self.refused.append(error)
            self.left_out.append(member)

    def finish(self) -> Block:
        """Return the entries of what was left out, without records; raise an error if nothing was read."""
        if self.refused and not self.read:
            raise self.refused[0]
        if not self.read:
            raise EmptyInput(
                "The archive holds no reviews",
                where=self.place.name,
                value=", ".join(map(member_names.printable, self.left_out[:NAMED]))
                or "it is empty",
                remedy="a member named *review*.json (or .csv, .txt, .parquet) is expected",
            )

        member_names.tell_left_out(self.place.name, self.read, self.left_out)
        name = self.place.name
        entries = [
            *member_names.entries_of_left_out("read", name, self.left_out),
            *self._links(name),
        ]
        return Block(pl.DataFrame(schema=COLUMNS), quarantine(name, []), tuple(entries))

    def _links(self, name: str) -> Iterator[Entry]:
        for member in self.not_files:
            detail = f"{member} is a link or a pipe, which is not followed"
            remedy = "put the file itself into the archive"
            kind = Kind.NO_FILE
            yield Entry(
                "read",
                Outcome.NOT_READ,
                kind,
                1,
                name,
                detail,
                remedy,
                True,
                member,
            )


def _tar(stream: io.BufferedReader, place: _Place) -> Iterator[Block]:
    """Read the members in one pass."""
    members = _Members(place)
    for name, content in archives.tar_members(
        stream, place.name, members.wanted, members.not_files
    ):
        yield from members.blocks(name, content, place.inside(members.named(name)))
    yield members.finish()


def _zip(stream: io.BufferedReader, place: _Place) -> Iterator[Block]:
    with archives.seekable(stream) as file:
        with archives.library():
            archive = zipfile.ZipFile(file)
            entries = [info for info in archive.infolist() if not info.is_dir()]

        foreign.require_files_in_zip([member.filename for member in entries], place.name)
        members = _Members(place)
        room = place.room
        for member in entries:
            if not members.wanted(member.filename):
                continue
            inside = place.inside(members.named(member.filename), room)
            if member.flag_bits & ENCRYPTED:
                raise Unreadable(
                    "The archive is encrypted",
                    where=inside.name,
                    remedy="unpack it with its password first",
                )

            with archives.library():
                content = archive.open(member)
            unpacked = archives.Unpacked(content, inside.name, inside.options, room)
            yield from members.blocks(member.filename, unpacked, inside)
            room -= unpacked.given

        yield members.finish()


def _pack(stream: io.BufferedReader, place: _Place) -> Iterator[Block]:
    """Read small files that we have packed: each is a source of its own, and one that is damaged is set aside alone."""
    options = replace(place.options, workers=1)  # threads would cost more than a small file
    files: list[tuple[str, bytes]] = []
    kind = None
    size = 0
    for name, content in archives.tar_members(
        stream, place.name, lambda name: name != archives.PACK_MARK
    ):
        raw = content.read()
        before = kind
        kind = _kind_of_lines(raw, name, options)
        if files and (kind != before or size >= options.block_bytes):
            yield from read_together(files, before[0], options) if before else ()
            files = []
            size = 0
        if kind:
            files.append((name, raw))
            size += len(raw)
        else:
            yield from _small_file(raw, replace(place.inside(name), options=options))

    if files and kind:
        yield from read_together(files, kind[0], options)


def _kind_of_lines(
    content: bytes,
    name: str,
    options: ReadingOptions,
) -> tuple[str, dict[str, str]] | None:
    """Return format and fields in folders of a file that can be read together with others of the same, or None."""
    head = content.removeprefix(BOM)
    if (
        not head
        or archives.unpacker_of(head)
        or archives.is_tar(head)
        or head.startswith(archives.ZIP)
    ):
        return None

    try:
        kind = format_of(head, name, options)
        if kind == "lines":
            require_no_table(head, name)
    except InputError:
        return None

    if kind in ("lines", "text"):
        return (kind, folder_fields(name))
    return None


def _small_file(content: bytes, place: _Place) -> Iterator[Block]:
    try:
        yield from list(_unpack(io.BytesIO(content), place))
    except (Unreadable, *archives.DAMAGED) as error:
        what = "The file is damaged"
        cause = str(error)
        known: Unreadable | None
        if isinstance(error, Unreadable):
            known = error
        else:
            known = foreign.explain(str(error), place.name)

        if known:
            what = known.what
            cause = known.cause
        problem = Problem(
            0, Reason.UNREADABLE_FILE, f"{what} ({cause})" if cause else what, content
        )
        yield Block(pl.DataFrame(schema=COLUMNS), quarantine(place.name, [problem]))
