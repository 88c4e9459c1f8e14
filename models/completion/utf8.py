"""Tell what the first bytes of a character in UTF-8 stand for."""

from __future__ import annotations

from codecs import getincrementaldecoder
from functools import lru_cache


@lru_cache(maxsize=1 << 14)
def character_of(begun: bytes) -> str | None:
    """Return the character beyond ASCII of some bytes, "" if more have to follow; None if there is none for people.

    Control characters, surrogates and code points without a character are not for people.
    """
    try:
        char = getincrementaldecoder("utf-8")().decode(begun)
    except UnicodeDecodeError:
        return None
    if char or not begun:
        return char if char.isprintable() and not char.isascii() else None
    size = 2 if begun[0] < 0xE0 else 3 if begun[0] < 0xF0 else 4
    first = begun[0] & (0x7F >> size)
    for byte in begun[1:]:
        first = first << 6 | byte & 0x3F
    low, high = (end << 6 * (size - len(begun)) for end in (first, first + 1))
    return "" if any(chr(code).isprintable() for code in range(low, min(high, 0x110000))) else None
