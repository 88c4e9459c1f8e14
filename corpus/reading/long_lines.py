"""Read a file line by line, and skip lines that are too long for memory."""

from __future__ import annotations

import io

from corpus.reading.jsonlines import pass_over
from corpus.schema import Limits, Problem


def next_line(stream: io.BufferedReader, number: int, limits: Limits) -> tuple[bytes, Problem | None]:
    """Return the next line with its line end; if it is over `max_record_bytes`, its beginning and the problem.

    Args:
        stream: Read up to the end of the line.
        number: Number of the line, from 1.
        limits: See `Limits`.
    """
    most = limits.max_record_bytes + 2  # the line end does not count
    line = stream.readline(most)
    content = line.removesuffix(b"\n").removesuffix(b"\r")
    if len(content) <= limits.max_record_bytes and (line.endswith(b"\n") or len(line) < most):
        return line, None
    problem, _ = pass_over(stream, line, number, limits)
    return problem.raw, problem
