"""Fit text and tables into the width of a terminal without breaking words.

A table that is too wide changes in this order: spaces in its headings and cells become line breaks; the columns that
its caller can spare are left out, the least important first, and a line names them; each row becomes a list of
"name: value" lines. A single word that is wider than the terminal stays whole.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

from core.errors import visible

RESULT_WIDTH = 110
"""Columns of results that are written to a file, or to a pipe of a process without a terminal."""
LEAST_WIDTH = 20
BREAK = re.compile(r"[ \n\t]+(?!±)")
"""Where a cell may be broken: an interval stays on the line of its figure."""
BETWEEN, AROUND = 3, 1
"""Columns that a table's lines and padding take for each column, and once."""


def width() -> int:
    """Return the columns of the terminal, of standard error's if standard output is a pipe, else `RESULT_WIDTH`."""
    return _columns_of(sys.stderr if _is_pipe(sys.stdout) else sys.stdout)


def _is_pipe(stream: TextIO) -> bool:
    with suppress(OSError, ValueError):
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    return False


def _columns_of(stream: TextIO) -> int:
    named = os.environ.get("COLUMNS", "")
    if named.isdigit() and int(named):
        return int(named)
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or RESULT_WIDTH
    return RESULT_WIDTH


def for_stream(text: str, stream: TextIO, indent: int = 0) -> str:
    """Return text for a stream: wrapped on a terminal, unchanged in a file or pipe, where others search for lines."""
    return wrapped(text, _columns_of(stream), indent) if stream.isatty() else text


def for_stdout(text: str, indent: int = 0) -> str:
    """Return text for standard output; see `for_stream`."""
    return for_stream(text, sys.stdout, indent)


def wrapped(text: str, columns: int, indent: int = 0) -> str:
    """Return text with line breaks at spaces; continued lines keep the indentation of their line.

    Args:
        text: One or more lines.
        columns: Width of a line.
        indent: Further columns by which continued lines are indented.
    """
    return "\n".join(_wrapped_line(line, columns, indent) for line in text.split("\n"))


def _wrapped_line(line: str, columns: int, indent: int) -> str:
    if len(line) <= columns:
        return line
    below = " " * (len(line) - len(line.lstrip()) + indent)
    below = below if len(below) <= columns - LEAST_WIDTH else "  "
    return "\n".join(
        textwrap.wrap(line, columns, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)
    )


@dataclass(frozen=True)
class FittedTable:
    """Table that was fitted into a width.

    Args:
        columns: Width of each column that is shown, by name; None if the rows are shown as lists.
        left_out: Names of the columns that are not shown.
    """

    columns: Mapping[str, int] | None
    left_out: tuple[str, ...] = ()


def fitted(rows: Sequence[Mapping[str, str]], spare: Sequence[str], columns: int) -> FittedTable:
    """Fit rows into a width.

    Args:
        rows: Cells as they are shown, by column.
        spare: Columns that may be left out, the first ones first.
    """
    cells = {name: [name, *(row[name] for row in rows)] for name in rows[0]}
    natural = {name: max(_length(line) for cell in given for line in cell.split("\n")) for name, given in cells.items()}
    least = {name: max(_longest_word(cell) for cell in given) for name, given in cells.items()}
    left_out: list[str] = []
    waiting = [name for name in spare if name in cells]
    while (room := columns - AROUND - sum(least[name] + BETWEEN for name in least)) < 0 and waiting:
        left_out.append(waiting.pop(0))
        del least[left_out[-1]]
    if room < 0:
        return FittedTable(None)
    missing = {name: natural[name] - least[name] for name in least}
    for name in sorted(missing, key=lambda name: missing[name]):  # the most columns without a line break
        all_fit = sum(missing.values()) <= room
        more = min(missing.pop(name), room if all_fit or not missing else room // 2)  # leave half to wider columns
        least[name], room = least[name] + more, room - more
    return FittedTable(least, tuple(left_out))


def _longest_word(cell: str) -> int:
    return max((_length(word) for word in BREAK.split(cell)), default=0)


def _length(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def cell(value: Any) -> str:
    """Return a value as text: a dash for none, floats rounded, whole numbers in groups of three digits."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}" if abs(value) < 0.1 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else visible(str(value))


def size(count: int) -> str:
    """Return a number of bytes with its unit: "0 B", "35 kB", "1.2 MB", "12 GB"."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.1f} {units[0]}" if value < 9.95 and units[0] != "B" else f"{value:.0f} {units[0]}"
