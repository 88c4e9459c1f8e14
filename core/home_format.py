"""Number the format of a home folder: what its store, records and registry look like. Refuse a home of another number.

The number is raised with each change after which older folders cannot be read. Folders from before numbers were written
are examined once, in `tracking/home_examination.py`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from reviewlm.core.errors import ArtifactError, ReviewLMError
from reviewlm.core.output import write_output
from reviewlm.core.sqlite_files import DATABASE

FORMAT = 1
"""Format that this version reads and writes: of a home, a backup of one, and the record of a version's lineage."""
FILE = "format"
HOLDS = ("store", DATABASE)
"""Parts of a home that have a format."""


class OtherFormat(ArtifactError):
    """The home folder was made by another version of ReviewLM."""

    def __init__(self, home: Path, number: int | str) -> None:
        super().__init__(
            f"This home was made by another version of ReviewLM: its format is {number}, and this version reads {FORMAT}",
            where=home,
            remedy="use the version that made it; or name another folder with REVIEWLM_HOME and run again there, from "
            "the files of reviews. Nothing in this home was changed",
        )


def number_of(home: Path) -> int | None:
    """Return the format of a home; None if it has no number.

    Raises:
        OtherFormat: The number cannot be read.
    """
    try:
        text = (home / FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise OtherFormat(home, "unreadable") from error

    if not text:  # cut off by a power failure
        return None
    if not text.isdecimal() or len(text) > 9:
        raise OtherFormat(home, repr(text[:20]))

    return int(text)


def is_unknown(home: Path) -> bool:
    """Return whether a home holds results and has no number."""
    return number_of(home) is None and any((home / name).exists() for name in HOLDS)


def require_format(home: Path) -> None:
    """Refuse a home of another format; a home without results gets the number of this version.

    Raises:
        OtherFormat: As said.
    """
    number = number_of(home)
    if number not in (None, FORMAT):
        raise OtherFormat(home, str(number))
    if number is None and home.is_dir() and not is_unknown(home):
        write_number(home)


def write_number(home: Path) -> None:
    """Write the number of this version; a folder that cannot be written to stays without one."""
    with suppress(OSError, ReviewLMError):
        write_output(home / FILE, f"{FORMAT}\n")
