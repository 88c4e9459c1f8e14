"""Write the files that a user names, complete or not at all, and show raw text unchanged in Markdown.

A regular file is written under a temporary name and renamed when it is complete. A link stays a link: the file it
points to is replaced. A device or a pipe (`/dev/stdout`, `/dev/full`, a FIFO) is written to directly and never
replaced.

Prefect and MLflow render our text as Markdown, and as HTML pages. If a review contains a link, an image, a heading, the
bar of a table or a tag, the page must show exactly what the reviewer typed.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from reviewlm.core.errors import ConfigError, disk_error, visible
from reviewlm.models.atomic_files import new_file, written_straight
from reviewlm.models.base import ModelError

OUT = "--out"
_SIGNS = re.compile(r"([\\`*_\[\]|~$])")
_AT_THE_BEGINNING = re.compile(r"^(\s*)(?:([#+=-])(?=[\s#+=-]|$)|(\d{1,9})([.)])(?=\s|$))")
_ADDRESS = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp):|\bwww\.")


@contextmanager
def output_file(path: Path, mode: int | None = None) -> Iterator[IO[bytes]]:
    """Open a file to write; it appears, with its parent folders, when the block ends without an error.

    Args:
        path: The path, as the user gave it.
        mode: Permissions of the file, e.g. 0o600; None: those of any new file, also if it replaces an open one.

    Raises:
        ConfigError: The path is a folder, or one of its parents is a file.
        StoreFull, NotWritable: The disk.
    """
    require_output(path)
    try:
        with new_file(path, mode) as file:
            yield file
    except ModelError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or isinstance(cause, BrokenPipeError):
            raise cause or error from None
        raise disk_error(cause.errno, path, str(cause)) from cause


def write_output(
    path: Path,
    content: bytes | str,
    mode: int | None = None,
) -> None:
    """Write a whole file as `output_file` does."""
    with output_file(path, mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def require_output(path: Path, option: str = OUT) -> None:
    """Check that a file can be written, and create its parent folders. Call this before any work.

    Args:
        path: The path, as the user gave it.
        option: The option that named it, for the message.

    Raises:
        ConfigError: The path is a folder, or one of its parents is a file.
        NotWritable: The operating system refuses.
    """
    try:
        if path.is_dir():
            raise ConfigError(
                "This is a folder, not a file",
                where=option,
                value=path,
                remedy="name a file in it",
            )
        if written_straight(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        folder = path.resolve().parent
    except (OSError, RuntimeError) as error:  # RuntimeError: links that point to each other
        raise disk_error(getattr(error, "errno", None), path, str(error)) from error
    except ValueError as error:
        raise ConfigError(
            "This is not a file path",
            where=option,
            value=path,
            cause=str(error),
        ) from error

    require_folder(folder, option)


def require_folder(folder: Path | None, option: str = OUT) -> None:
    """Create a folder and check that it can be written to. Call this before any work and after all other checks.

    Raises:
        ConfigError: The path or one of its parents is a file.
        NotWritable: The operating system refuses.
    """
    if folder is None:
        return

    try:
        if barrier := next(
            (at for at in (folder, *folder.parents) if at.exists() and not at.is_dir()), None
        ):
            raise ConfigError(
                "The folder cannot be created: a file has its name", where=option, value=barrier
            )
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise disk_error(error.errno, folder, str(error)) from error


def literal(text: str) -> str:
    """Return text on one line, escaped so that Markdown starts no tag, link, emphasis, list or table cell in it."""
    text = " ".join(visible(text).splitlines())
    text = _SIGNS.sub(r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    text = _ADDRESS.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", text)
    return _AT_THE_BEGINNING.sub(_escape_begin, text)


def _escape_begin(match: re.Match[str]) -> str:
    return f"{match[1]}{match[3] or ''}\\{match[2] or match[4]}"


def code(text: str) -> str:
    """Return text on one line as inline code."""
    return f"`{' '.join(visible(text).splitlines()).replace('`', chr(39)).strip() or ' '}`"


def fence_text(text: str, language: str = "") -> str:
    """Return a text as a block of code, between fences that are longer than each run of backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def quote_text(text: str) -> str:
    """Return a text as a block quotation, line by line."""
    return "\n".join(f"> {literal(line)}".rstrip() for line in text.split("\n"))


def table_row(cells: list[str]) -> str:
    """Return a table row whose cells are raw text."""
    return f"| {' | '.join(map(literal, cells))} |"
