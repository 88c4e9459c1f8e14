"""Read a file line by line, and skip lines that are too long for memory."""

from __future__ import annotations

import hashlib
import io

from reviewlm.corpus.schema import Problem, ReadingOptions, Reason

BOM = b"\xef\xbb\xbf"
"""Byte order mark of UTF-8; in files joined with `cat` it can be in the middle."""
RAW_BYTES = 64 << 10
"""Bytes that the quarantine keeps of a record longer than `ReadingOptions.max_record_bytes`."""


def next_line(
    stream: io.BufferedReader,
    number: int,
    options: ReadingOptions,
) -> tuple[bytes, Problem | None]:
    """Return the next line with its line end; if it is over `max_record_bytes`, its beginning and the problem.

    Args:
        stream: Read up to the end of the line.
        number: Number of the line, from 1.
    """
    most = options.max_record_bytes + 2  # the line end does not count
    line = stream.readline(most)
    content = line.removesuffix(b"\n").removesuffix(b"\r")
    if len(content) <= options.max_record_bytes and (line.endswith(b"\n") or len(line) < most):
        return line, None
    problem = pass_over(stream, line, number, options)
    return problem.raw, problem


def pass_over(
    stream: io.BufferedReader,
    begun: bytes,
    line: int,
    options: ReadingOptions,
) -> Problem:
    """Skip to the end of a line that is too long for memory; return the problem."""
    sha = hashlib.sha256()
    head = begun[:RAW_BYTES]
    length = 0
    piece = begun
    while True:
        ended = piece.endswith(b"\n")
        sha.update(piece[:-1] if ended else piece)
        length += len(piece)
        if ended or not (piece := stream.readline(options.block_bytes)):
            break
        head += piece[: RAW_BYTES - len(head)]

    return _problem(
        line,
        head.removesuffix(b"\n"),
        length - ended,
        sha.hexdigest(),
        options,
    )


def too_long(
    line: int,
    content: bytes,
    options: ReadingOptions,
) -> Problem:
    """Return the problem of a line that is longer than `max_record_bytes`."""
    return _problem(
        line,
        content[:RAW_BYTES],
        len(content),
        hashlib.sha256(content).hexdigest(),
        options,
    )


def _problem(
    line: int,
    head: bytes,
    length: int,
    sha256: str,
    options: ReadingOptions,
) -> Problem:
    detail = f"the record has {length} bytes, source.max_record_bytes allows {options.max_record_bytes}; sha256 {sha256}"
    return Problem(line, Reason.TOO_LONG, detail, head)
