"""Write a command's output for the user, and the one JSON object for a program.

In a table that is too wide, spaces of headings and cells become line breaks; if that is not enough, each row becomes a
list of "name: value" lines. A single word that is wider than the terminal stays whole.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import stat
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from json import loads
from pathlib import Path
from typing import Any, TextIO

from reviewlm.core.errors import (
    TO_UTF8,
    EmptyInput,
    InputError,
    ReviewLMError,
    Unreadable,
    UsageError,
    visible,
)
from reviewlm.core.figures import Amount
from reviewlm.core.processes import standard_streams
from reviewlm.models.base import ModelError

RESULT_WIDTH = 110
"""Columns of results that are written to a file, or to a pipe of a process without a terminal."""
LEAST_WIDTH = 20
LEAST_SHOWN = 0.0005
"""Probability that is shown as 0.1 %; words below it are not listed."""
BREAK = re.compile(r"[ \n\t]+(?!±)")
"""Where a cell may be broken: an interval stays on the line of its figure."""
BETWEEN = 3
AROUND = 1
"""Columns that a table's lines and padding take for each column, and once."""
CLOCK = "%H:%M:%S"
HEIGHT = 100
WARNING = "warning: "
LONGEST_PROMPT = 200
"""Characters of a prompt, counted from its end, that are shown again beside the suggestions."""
ONE_TEXT_A_LINE = "one text per line"
RECORD_FIELDS = {
    "body",
    "business_id",
    "comment",
    "date",
    "label",
    "rating",
    "review",
    "review_id",
    "stars",
    "text",
    "title",
    "user_id",
}
"""Names of which a header has two or more, and the first line of a file of texts has not."""


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


def for_stream(
    text: str,
    stream: TextIO,
    indent: int = 0,
) -> str:
    """Return text for a stream: wrapped on a terminal, unchanged in a file or pipe, where others search for lines."""
    if stream.isatty():
        return wrap_text(text, _columns_of(stream), indent)
    return text


def wrap_text(
    text: str,
    columns: int,
    indent: int = 0,
) -> str:
    """Return text with line breaks at spaces; continued lines keep the indentation of their line.

    Args:
        text: One or more lines.
        columns: Width of a line.
        indent: Further columns by which continued lines are indented.
    """
    return "\n".join(_wrapped_line(line, columns, indent) for line in text.split("\n"))


def _wrapped_line(
    line: str,
    columns: int,
    indent: int,
) -> str:
    if len(line) <= columns:
        return line

    below = " " * (len(line) - len(line.lstrip()) + indent)
    below = below if len(below) <= columns - LEAST_WIDTH else "  "
    return "\n".join(
        textwrap.wrap(
            line,
            columns,
            subsequent_indent=below,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def fit_widths(rows: Sequence[Mapping[str, str]], columns: int) -> dict[str, int] | None:
    """Return the width of each column of rows, whose cells are as they are shown; None: show the rows as lists."""
    natural = {}
    least = {}
    for name in rows[0]:
        cells = [name, *(row[name] for row in rows)]
        natural[name] = max(_length(line) for cell in cells for line in cell.split("\n"))
        least[name] = max(_length(word) for cell in cells for word in BREAK.split(cell))

    room = columns - AROUND - sum(least[name] + BETWEEN for name in least)
    if room < 0:
        return None

    missing = {name: natural[name] - least[name] for name in least}
    # The most columns without a line break.
    for name in sorted(missing, key=lambda name: missing[name]):
        all_fit = sum(missing.values()) <= room
        wanted = missing.pop(name)
        half = room if all_fit or not missing else room // 2  # leave half to wider columns
        more = min(wanted, half)
        least[name] += more
        room -= more

    return least


def _length(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def as_cell(value: Any) -> str:
    """Return a value as text: a dash for none, floats rounded, whole numbers in groups of three digits."""
    if value is None:
        return "–"
    if isinstance(value, float):
        if abs(value) >= 100:
            return f"{value:,.1f}"
        if abs(value) < 0.1:
            return f"{value:.4g}"
        return f"{value:.3f}"

    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return visible(str(value))


def size(count: int) -> str:
    """Return a number of bytes with its unit: "0 B", "35 kB", "1.2 MB", "12 GB"."""
    value = float(count)
    units = ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value = value / 1000
        units = units[1:]
    if value < 9.95 and units[0] != "B":
        return f"{value:.1f} {units[0]}"
    return f"{value:.0f} {units[0]}"


@cache
def program() -> str:
    """Return how the user calls this program, so that he can copy the commands that it prints.

    That is "reviewlm" if the shell finds this program under its name, else the path or the `python -m` that was typed.
    """
    called = sys.argv[0]
    name = Path(called).name
    if Path(called).parts[-2:] == ("reviewlm", "__main__.py"):
        return f"{sys.executable} -m reviewlm"
    if name != "reviewlm":  # the Python API, a test, a worker
        return "reviewlm"

    found = shutil.which("reviewlm")
    same = found is not None and Path(found).resolve() == Path(called).resolve()
    return "reviewlm" if same else called


def as_typed(text: str) -> str:
    """Return text for a person, with the commands in backquotes as this person can type them, and no hidden letters."""
    return visible(text.replace("`reviewlm ", f"`{program()} "))


def log_to_stderr(rooms: Iterable[str]) -> None:
    """Show the rooms' log messages on standard error; Prefect's console would repeat them."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    _handler.setFormatter(_Plain("%(asctime)s  %(message)s", CLOCK))
    _handler.setLevel(logging.INFO)
    for room in rooms:
        logger = logging.getLogger(room)
        logger.addHandler(_handler)
        logger.setLevel(logging.DEBUG)


def show_details(enabled: bool) -> bool:
    """Also show the log messages of each stage (level DEBUG), if --verbose was given."""
    if enabled:
        _handler.setLevel(logging.DEBUG)
    return enabled


class _Plain(logging.Formatter):
    """Formatter that escapes control characters: a message may contain words of a review or the name of a file.

    Warnings begin with "warning:", other messages with the time.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        if record.levelno >= logging.WARNING:
            return for_stream(as_typed(WARNING + record.getMessage()), sys.stderr, len(WARNING))
        return for_stream(as_typed(super().format(record)), sys.stderr, len("00:00:00  "))


class StandardError(logging.StreamHandler[TextIO]):
    """Handler that always writes to the current standard error.

    A progress bar replaces standard error, so that log lines appear above the bar. Prefect would replace a handler of
    all loggers whose class has a name with an underscore.
    """

    @property
    def stream(self) -> TextIO:
        """Standard error."""
        return sys.stderr

    @stream.setter
    def stream(self, ignored: TextIO) -> None:
        pass


_handler = StandardError()


def allow_any_terminal() -> None:
    """Show characters that a terminal's encoding lacks (stars, dashes) as question marks instead of failing.

    A line is written when it is whole, also to a file: others follow what a server says there.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace", line_buffering=True)


def say(text: str = "", whole: bool = False) -> None:
    """Write a line to standard output, with line breaks at spaces on a terminal.

    Args:
        text: The line, or several.
        whole: Never break it: it is a command, which users copy.
    """
    sys.stdout.write(
        (as_typed(text) if whole else for_stream(as_typed(text), sys.stdout, indent=2)) + "\n"
    )


def last_line(result: Mapping[str, Any], enabled: bool) -> None:
    """Write the JSON object of a command, if --json was given; `reviewlm/boundary.py` writes it at the end."""
    if not enabled:
        return
    document = standard_streams.document
    if document is not None:
        document.update(result)
    else:
        sys.stdout.write(standard_streams.as_json_line(result))
        sys.stdout.flush()


def show_warnings(sentences: Iterable[str]) -> None:
    """Write warnings to standard error, each once."""
    for sentence in dict.fromkeys(sentences):
        sys.stderr.write(for_stream(as_typed(WARNING + sentence), sys.stderr, len(WARNING)) + "\n")


def show_error(error: ReviewLMError) -> None:
    """Write an error to standard error; an error of the command-line parser is shown in the parser's own words."""
    if isinstance(error, UsageError):
        error.show()
    else:
        sys.stderr.write(for_stream(as_typed(f"error: {error}"), sys.stderr, indent=2) + "\n")


def show_rows(
    rows: Sequence[Mapping[str, Any]],
    title: str = "",
    empty: str = "",
) -> None:
    """Write rows as an aligned table, or as lists if they are too wide (`reviewlm/terminal.py`).

    Args:
        rows: The rows, all with the columns of the first one.
        title: Heading.
        empty: Sentence to write if there are no rows; by default the title, with "none" after it.
    """
    if not rows:
        if message := empty or (f"{title}: none" if title else ""):
            say(message)
        return

    shown = []
    for row in rows:
        shown.append({name: as_cell(value) for name, value in row.items()})

    columns = fit_widths(shown, width())
    if title:
        say(wrap_text(title, width()))

    if columns is None:
        for row in shown:
            show_facts(row)
            say()
        return

    _draw(rows[0], shown, columns)


def _draw(
    first: Mapping[str, Any],
    shown: Sequence[Mapping[str, str]],
    columns: Mapping[str, int],
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name, columns_wide in columns.items():
        side: Any = "left"
        if isinstance(first[name], int | float | Amount):
            side = "right"

        table.add_column(
            name,
            justify=side,
            overflow="fold",
            width=columns_wide,
        )

    for row in shown:
        # A plain str may hold rich's [markup].
        table.add_row(*(Text(row[name]) for name in columns))

    # Without a height, rich takes 80 columns if TERM=dumb.
    Console(width=width(), height=HEIGHT).print(table)


def show_facts(facts: Mapping[str, Any]) -> None:
    """Write facts, one per line."""
    longest = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        if not isinstance(value, list | dict):
            line = as_typed(f"{name:<{longest}}  {as_cell(value)}")
            sys.stdout.write(for_stream(line, sys.stdout, longest + 2) + "\n")


def show_result(result: Mapping[str, Any], json: bool) -> None:
    """Write a command's result as facts, and as the JSON object if --json was given."""
    show_facts(result)
    last_line(result, json)


def show_review(
    stars: int | None,
    text: str,
    ended: bool = True,
) -> None:
    """Write one generated review under the rating that it was written with; None: the average over the ratings.

    *ended*: it is not cut at the maximum length.
    """
    show_rating(stars)
    for paragraph in text.split("\n"):
        say(wrap_text(f"  {paragraph}".rstrip(), width()))
    if not ended:
        show_cut()


def show_rating(stars: int | None) -> None:
    """Write the heading of a review; arguments as for `show_review`."""
    say()
    rating = "(no rating requested)"
    if stars:
        rating = "★" * stars + "☆" * (5 - stars)
    elif stars == 0:
        rating = "(without a rating)"
    say(rating)


def show_cut() -> None:
    """Write that the review above is cut at the maximum length."""
    say("  … (cut here, at the longest length)")


def show_suggestions(prompt: str, suggestions: Any) -> None:
    """Write the suggested next words, or completions, with their probabilities."""
    shown = [row for row in suggestions.words if row[1] >= LEAST_SHOWN]
    rest = suggestions.rest + sum(row[1] for row in suggestions.words if row[1] < LEAST_SHOWN)
    words = ", ".join(f"{word} {probability:.1%}" for word, probability in shown)
    if len(prompt) > LONGEST_PROMPT:
        prompt = f"…{prompt[-LONGEST_PROMPT:]}"
    if suggestions.typed:
        text = f"“{prompt}…” completed"
    else:
        text = f"“{prompt.rstrip(' ')} …”"

    say(f"\n{text}  →  {words or 'no known word'}  (all else {rest:.1%})")


def read_text(file: str) -> str:
    """Return the text of a file, or of standard input for "-", without a byte order mark and with plain line ends.

    Bytes are decoded here, not by Python's standard input: in some locales that hides those that are not UTF-8.

    Raises:
        Unreadable: No such file, it is a folder, or it is not UTF-8.
    """
    if file == "-" and sys.stdin.isatty():
        sys.stderr.write("Type the text, then Ctrl-D at the start of a line: ")
        sys.stderr.flush()

    try:
        if file == "-":
            content = sys.stdin.buffer.read()
        else:
            content = Path(file).read_bytes()

        _require_text(file, content)
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):  # too long for a name: surely a text
            remedy = "check spelling and working directory; or give '-' and a text: echo \"TEXT\" | reviewlm … -"
            raise Unreadable("There is no such file", where=file, remedy=remedy) from error
        if isinstance(error, IsADirectoryError) or not file:
            raise Unreadable(
                "It is a folder" if file else "The name of the file is empty",
                where=file,
                remedy=f"name a file, {ONE_TEXT_A_LINE}, or '-' for standard input",
            ) from error
        raise Unreadable("The file cannot be read", where=file, cause=str(error)) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        where = f"{file}, line {line}"
        raise Unreadable(
            "The file is not UTF-8 text",
            where=where,
            cause=str(error),
            remedy=TO_UTF8,
        ) from error


def _require_text(file: str, content: bytes) -> None:
    """Raise Unreadable if bytes are certainly no text in UTF-8; it says what they are."""
    from reviewlm.training.text_source import mark_length, require_text, unpacker_of

    if unpacker_of(content) is not None:
        raise Unreadable(
            "The file is packed", where=file, remedy="unpack it first, e.g. with gunzip"
        )

    try:
        mark_length(Path(file), content[:3])
        require_text(Path(file), content)
    except ModelError as error:
        raise Unreadable(str(error), where=file) from error


def read_lines(file: str) -> list[tuple[int, str]]:
    """Return the non-empty lines of a file, or of standard input for "-", each with its number from 1 on.

    Raises:
        Unreadable: As for `read_text`.
        EmptyInput: There is no text in it.
        InputError: The lines are records in JSON or a table: their field names would be taken for text.
    """
    split = read_text(file).split("\n")  # splitlines() also cuts at U+2028 etc. in texts
    lines = [(number, line) for number, line in enumerate(split, 1) if line.strip()]
    if not lines:
        raise EmptyInput("There is no text", where=file, remedy=f"give {ONE_TEXT_A_LINE}")

    _refuse_records(file, lines)
    return lines


def _refuse_records(file: str, lines: Sequence[tuple[int, str]]) -> None:
    """Raise InputError if lines are records, and not texts."""
    number, first = lines[0]
    form = ""
    try:
        record = loads(first)
        if isinstance(record, dict) and record:
            form = "JSON"
    except (ValueError, RecursionError):
        names = [name.strip(' "').lower() for name in re.split("[,;\t]", first)]
        if len(RECORD_FIELDS.intersection(names)) > 1:
            form = "a table with a header"

    if form:
        raise InputError(
            f"These lines are records ({form}), not texts",
            where=f"{file}, line {number}",
            remedy=f"write the texts alone into a file, {ONE_TEXT_A_LINE}; "
            "`reviewlm run --input FILE` and `reviewlm models classify fit --input FILE` read records",
        )
