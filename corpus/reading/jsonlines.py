"""Read JSON lines, each line alone so that a bad one does not affect others.

orjson decodes the lines, because it says which line it did not understand. Readers of whole tables do not: polars makes
text of the number in `{"text": 5}` and takes the first of two equal names, pyarrow refuses all lines for one bad value.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from reviewlm.corpus.reading.json_records import decode_json, decode_records
from reviewlm.corpus.reading.json_refusals import (
    TABLE_BEGINS,
    first_value,
    has_text,
    require_known,
    require_no_table,
    require_objects,
    whole_table,
)
from reviewlm.corpus.reading.lines import pass_over
from reviewlm.corpus.reading.wrappings import unwrap
from reviewlm.corpus.schema import Block, Problem, ReadingOptions
from reviewlm.models.threads import map_in_order


@dataclass(frozen=True)
class Stretch:
    """Whole lines of a file.

    Attributes:
        lines: Their bytes.
        first_line: Number of the first line.
        problems: The problem of one line that is too long for memory; then the stretch has no lines.
    """

    lines: bytes
    first_line: int
    problems: tuple[Problem, ...] = ()


def read_json_lines(
    stream: io.BufferedReader,
    source: str,
    options: ReadingOptions,
) -> Iterator[Block]:
    """Yield the records of a file with one JSON object per line; blank lines are skipped.

    Memory holds a few blocks at a time, each of up to `block_bytes + max_record_bytes`, even if lines are very long.

    Raises:
        MissingColumn: The first block has objects, and none of them has a text, or a field named by the user.
    """
    yield from map_in_order(
        partial(parse, source=source, options=options),
        _stretches(stream, source, options),
        options.workers,
    )


def _stretches(
    stream: io.BufferedReader,
    source: str,
    options: ReadingOptions,
) -> Iterator[Stretch]:
    """Yield the lines of a file in stretches, if the first one holds reviews; a line too long for memory alone."""
    rest = b""
    line = 1
    started = False
    while True:
        more = stream.read(options.block_bytes)
        if whole := more.rfind(b"\n") + 1:
            lines = b"".join((rest, memoryview(more)[:whole]))
            rest = more[whole:]
        else:
            lines, rest = (b"", rest + more) if more else (rest, b"")

        if lines:
            if not started:
                require_no_table(lines, source)
                require_objects(lines, source)
                if options.renamed or not has_text(unwrap(first_value(lines)), options):
                    require_known(
                        [decode_json(line) for line in lines.split(b"\n")], source, options
                    )

                started = True

            yield Stretch(lines, line)
            line += lines.count(b"\n")

        if not more:
            return
        if len(rest) > options.max_record_bytes:
            if not started and TABLE_BEGINS.match(rest):
                raise whole_table(source)
            yield Stretch(b"", line, (pass_over(stream, rest, line, options),))
            rest = b""
            line += 1


def parse(
    stretch: Stretch,
    source: str,
    options: ReadingOptions,
) -> Block:
    """Return the records of a stretch, in order, and a reason for each line that cannot be used."""
    lines = stretch.lines.split(b"\n")
    numbers = range(stretch.first_line, stretch.first_line + len(lines))
    return decode_records(
        lines,
        numbers,
        list(stretch.problems),
        source,
        options,
    )
