"""Write a crash log for the report of a defect, in a file that only its owner can read."""

from __future__ import annotations

import os
import platform
import shlex
import tempfile
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from reviewlm.core.environment import home_folder
from reviewlm.core.errors import without_secrets

FOLDER = "crashes"
OWNER_ONLY_FOLDER = 0o700
OWNER_ONLY_FILE = 0o600

MEMORY_ADVICE = (
    "lower what uses memory (hidden, embedding, batch or window of the model, size of the vocabulary, "
    "source.part_rows, execution.workers), or give it more memory; a rerun reuses what is finished"
)
"""Remedy of an error for lack of memory."""


def write_crash_log(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Write traceback, versions and command line to a new file, and return its path.

    The file is in the folder `crashes` of the home folder or, if that is not writable, in the system's folder for
    temporary files. Return None if neither is writable.

    Args:
        error: The unexpected exception.
        arguments: The command line without the program's name; passwords in it are masked.
    """
    content = without_secrets("".join(_lines(error, arguments)))
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    for folder in (home_folder() / FOLDER, Path(tempfile.gettempdir())):
        with suppress(OSError):
            folder.mkdir(
                mode=OWNER_ONLY_FOLDER,
                parents=True,
                exist_ok=True,
            )
            file = folder / f"reviewlm-{now}-{os.getpid()}.log"
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY_FILE)
            with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as log:
                log.write(content)
            return file

    return None


def _lines(error: BaseException, arguments: Sequence[str]) -> Iterable[str]:
    yield f"reviewlm {_installed_versions()}, Python {platform.python_version()}, {platform.platform()}\n"
    yield f"command: {shlex.join(['reviewlm', *arguments])}\n\n"
    yield from traceback.format_exception(error)


def _installed_versions() -> str:
    try:
        return version("reviewlm")
    except PackageNotFoundError:
        return "of unknown version"


def first_line(error: BaseException) -> str:
    """Return the type and the first line of the message of an exception."""
    try:
        message = str(error).partition("\n")[0]
    except Exception:  # an exception whose `__str__` fails
        message = ""
    if message:
        return f"{type(error).__name__}: {message}"
    return type(error).__name__
