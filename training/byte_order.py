"""Read the byte order mark at the beginning of a text file: that of UTF-8 is no text, others mean another encoding."""

from __future__ import annotations

from pathlib import Path

from models.base import ModelError

UTF8 = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def mark_length(path: Path, begin: bytes) -> int:
    """Return how many bytes of a file's beginning (3) are a mark and no text.

    Raises:
        ModelError: kind "input": the mark is of UTF-16 or UTF-32.
    """
    if begin.startswith(UTF16) or begin == b"\0\0\xfe":
        convert = f"iconv -f UTF-16 -t UTF-8 {path.name}"
        raise ModelError(f"{path} is text in UTF-16 or UTF-32, as its first bytes say; convert it: {convert}", "input")
    return len(UTF8) if begin.startswith(UTF8) else 0
