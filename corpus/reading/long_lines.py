"""Lines of a file one by one, of which those that are too long are passed over instead of held."""

from __future__ import annotations

import io

from corpus.reading.jsonlines import pass_over
from corpus.schema import Limits, Problem


def next_line(stream: io.BufferedReader, number: int, limits: Limits) -> tuple[bytes, Problem | None]:
    """Return the next line with its end; of one over `max_record_bytes` the beginning, and what is wrong with it.

    Args:
        stream: Read up to the end of the line.
        number: Of the line, from 1.
        limits: See `Limits`.
    """
    most = limits.max_record_bytes + 2  # the line's end does not count
    line = stream.readline(most)
    content = line.removesuffix(b"\n").removesuffix(b"\r")
    if len(content) <= limits.max_record_bytes and (line.endswith(b"\n") or len(line) < most):
        return line, None
    problem, _ = pass_over(stream, line, number, limits)
    return problem.raw, problem
