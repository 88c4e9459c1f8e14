"""Text that was decoded with the wrong table: UTF-8 read as Windows-1252 or Latin-1, once or several times.

`cafÃ©` is the UTF-8 of `café`, read byte by byte. A run of such characters is turned back where its bytes are valid
UTF-8 for a character of `EXPECTED`. That is a table of our own and not a library's heuristic, since the result is part
of what a model was trained on: it may not change because a package was upgraded. On a review corpus damaged on
purpose it restores as many texts as ftfy 6.3 does (`tests/corpus/test_mojibake.py` compares the two).

In good text, too, two neighbours can look like that: `CAFÉ”` is one. So a closing quotation mark, dash or ellipsis
right behind a letter is left alone where it may be meant (`_meant`).

Lone C1 controls are bytes of Windows-1252 that were read as Latin-1; U+0085 therefore becomes an ellipsis.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from .rules import CHARACTERS, Repair, substitute

BYTES: dict[str, int] = {chr(byte): byte for byte in range(0x80, 0x100)}
"""The byte that a character was read from. Five bytes have no character in Windows-1252; they came through as C1."""
_C1: dict[int, str] = {}
for _byte in range(0x80, 0xA0):
    if _byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D):
        _C1[_byte] = bytes([_byte]).decode("cp1252")
        BYTES[_C1[_byte]] = _byte

EXPECTED = (
    (0x80, 0x17F),  # Latin
    (0x370, 0x52F),  # Greek, Cyrillic
    (0x1E00, 0x1EFF),  # Vietnamese
    (0x2000, 0x2BFF),  # punctuation, currencies, symbols
    (0x3000, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7A3),  # Japanese, Chinese, Korean
    (0xFB00, 0xFB06), (0xFE0E, 0xFE0F), (0xFEFF, 0xFEFF), (0xFF01, 0xFFE6), (0xFFFD, 0xFFFD),
    (0x1F000, 0x1FAFF),  # emoji
)
"""What a damaged character may have been, as closed ranges. No combining marks: they would merge with a neighbour."""

_CLOSING = frozenset((0x85, 0x92, 0x94, 0x96, 0x97, 0x99))  # … ’ ” – — ™


def _class(low: int, high: int) -> str:
    return "".join(sign if sign not in "^-]\\" else f"\\{sign}" for sign, byte in BYTES.items() if low <= byte <= high)


HINT = rf"[\x80-\x9F]|[{_class(0xC2, 0xF4)}][{_class(0x80, 0xBF)}]"
_RUN = re.compile(f"[{_class(0x80, 0xFF)}]{{2,}}")


def repair(text: str) -> str:
    """Return *text* with every sequence turned back that is one, and what that gives in turn; linear in its length."""
    return _RUN.sub(_turn_back, text).translate(_C1)


REPAIR = Repair("encoding", HINT, repair)


def _turn_back(run: re.Match[str]) -> str:
    """Reduce from the left with a stack; what is left holds no sequence, so a second time changes nothing."""
    before = run.string[run.start() - 1] if run.start() else " "
    stack = [before]
    for sign in run[0]:
        stack.append(sign)
        while (size := _sequence(stack)) and (original := _original("".join(stack[-size:]))):
            if _meant(stack[-size - 1], stack[-size], stack[-1]):
                break
            del stack[-size:]
            stack.extend(original)
    return "".join(stack[1:])


def _sequence(stack: list[str]) -> int:
    """Return how many characters at the end have the form of one UTF-8 sequence, or 0."""
    for size in range(1, min(5, len(stack))):
        byte = BYTES.get(stack[-size], 0)
        if not 0x80 <= byte < 0xC0:
            needed = 2 if 0xC2 <= byte < 0xE0 else 3 if 0xE0 <= byte < 0xF0 else 4 if 0xF0 <= byte < 0xF5 else 0
            return size if size == needed else 0
    return 0


@lru_cache(maxsize=4096)
def _original(sequence: str) -> str:
    """Return the character that was damaged, in normal form, a space for an invisible one, or "" if it was none."""
    try:
        sign = bytes(BYTES[each] for each in sequence).decode()
    except UnicodeDecodeError:
        return ""
    if not any(low <= ord(sign) <= high for low, high in EXPECTED):
        return ""
    normal = unicodedata.normalize("NFC", substitute(CHARACTERS, _C1.get(ord(sign), sign))) or " "
    # The Kelvin sign and the Greek question mark are K and ; in normal form, which may complete a character reference.
    return "" if normal.isascii() and not normal.isspace() else normal


def _meant(before: str, lead: str, last: str) -> bool:
    """Whether the characters are more likely what was written: a letter, and a mark that closes a word."""
    if BYTES[last] not in _CLOSING:
        return False
    latin = (before.isascii() and before.isalpha()) or "À" <= before <= "ÿ"
    if lead in "ÂÃ":
        return latin and before.isupper()
    return latin and lead not in "âïð"
