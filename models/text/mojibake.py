"""Repair mojibake: UTF-8 that was decoded as Windows-1252 or Latin-1, once or several times.

`cafÃ©` is the UTF-8 of `café`, read byte by byte. A run of such characters is repaired where its bytes are valid
UTF-8 for a character of `EXPECTED`. This is our own table and not a library's heuristic, because models are trained on
the result: it must not change when a package is upgraded. On texts damaged on purpose it restores at least as many as
ftfy 6.3 (`tests/corpus/cleaning/test_mojibake.py` compares the two).

Correct text can also have such neighbours, for example `CAFÉ”`. So a closing quotation mark, dash or ellipsis right
after a letter is not changed where it may be intended (`_meant`).

Single C1 controls are bytes of Windows-1252 that were read as Latin-1; so U+0085 becomes an ellipsis.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from .rules import CHARACTERS, Repair, substitute

BYTES: dict[str, int] = {chr(byte): byte for byte in range(0x80, 0x100)}
"""Character → byte it was read from. Five bytes have no character in Windows-1252; they became C1 controls."""
_C1: dict[int, str] = {}
for _byte in range(0x80, 0xA0):
    if _byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D):
        _C1[_byte] = bytes([_byte]).decode("cp1252")
        BYTES[_C1[_byte]] = _byte

EXPECTED = (
    (0x80, 0x17F),  # Latin
    (0x192, 0x192), (0x2C6, 0x2C6), (0x2DC, 0x2DC),  # ƒ ˆ ˜, only in texts that were damaged twice
    (0x370, 0x52F),  # Greek, Cyrillic
    (0x1E00, 0x1EFF),  # Vietnamese
    (0x2000, 0x2BFF),  # punctuation, currencies, symbols
    (0x3000, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7A3),  # Japanese, Chinese, Korean
    (0xFB00, 0xFB06), (0xFE0E, 0xFE0F), (0xFEFF, 0xFEFF), (0xFF01, 0xFFE6), (0xFFFD, 0xFFFD),
    (0x1F000, 0x1FAFF),  # emoji
)
"""Possible original characters, as closed ranges. No combining marks: they would merge with a neighbour."""

_CLOSING = frozenset((0x85, 0x92, 0x94, 0x96, 0x97, 0x99))  # … ’ ” – — ™
_LEADS = frozenset(byte for low, high in EXPECTED for code in range(low, high + 1) for byte in chr(code).encode()[:1])




def _class(*chosen: int) -> str:
    return "".join(re.escape(sign) for sign, byte in BYTES.items() if byte in chosen)


HINT = rf"[\x80-\x9F]|[{_class(*_LEADS)}][{_class(*range(0x80, 0xC0))}]"
_RUN = re.compile(f"[{_class(*range(0x80, 0x100))}]{{2,}}")


def repair(text: str) -> str:
    """Return *text* with every damaged sequence repaired, also those that a repair creates; in linear time."""
    return _RUN.sub(_turn_back, text).translate(_C1)


REPAIR = Repair("encoding", HINT, repair)


def _turn_back(run: re.Match[str]) -> str:
    """Repair a run from the left with a stack; the result has no damaged sequence, so a second run changes nothing."""
    stack = [run.string[run.start() - 1] if run.start() else " "]
    decoded = [False]
    for sign in run[0]:
        stack.append(sign)
        decoded.append(False)
        while (size := _sequence(stack)) and (original := _original("".join(stack[-size:]))):
            if _meant(stack[-size - 1], stack[-size:]):
                break
            del stack[-size:], decoded[-size:]
            stack.append(original)
            decoded.append(True)
    return "".join(_normal(sign) if new else sign for sign, new in zip(stack[1:], decoded[1:], strict=True))


def _sequence(stack: list[str]) -> int:
    """Return the number of characters at the end of the stack that have the form of one UTF-8 sequence, or 0."""
    for size in range(1, min(5, len(stack))):
        byte = BYTES.get(stack[-size], 0)
        if not 0x80 <= byte < 0xC0:
            needed = 2 if 0xC2 <= byte < 0xE0 else 3 if 0xE0 <= byte < 0xF0 else 4 if 0xF0 <= byte < 0xF5 else 0
            return size if size == needed else 0
    return 0


@lru_cache(maxsize=4096)
def _original(sequence: str) -> str:
    """Return the original character of a damaged sequence, or "" if the sequence is not damage."""
    try:
        sign = bytes(BYTES[each] for each in sequence).decode()
    except UnicodeDecodeError:
        return ""
    if not any(low <= ord(sign) <= high for low, high in EXPECTED):
        return ""
    # In NFC, the Kelvin sign is K, the Greek question mark a semicolon, the Angstrom sign half of a damaged letter:
    # together with their neighbours they could form text that an earlier step would have changed.
    other = unicodedata.normalize("NFC", sign) != sign
    return "" if other and (_normal(sign).isascii() or _normal(sign) in BYTES) and not _normal(sign).isspace() else sign


def _normal(sign: str) -> str:
    """Return the character in normal form, or a space if the normal form removes it."""
    return unicodedata.normalize("NFC", substitute(CHARACTERS, _C1.get(ord(sign), sign))) or " "


def _meant(before: str, sequence: list[str]) -> bool:
    """Return whether the characters are probably intended: a letter, and marks that close a word."""
    lead = sequence[0]
    if lead in "âïð" or not all(BYTES[sign] in _CLOSING for sign in sequence[1:]):
        return False
    if len(sequence) == 2:  # these leads are capital letters if they follow a capital, but not if they follow a lead
        if BYTES.get(before) in _LEADS or (lead not in "ÂÃ" and sequence[1] == "™"):
            return False
        return before in "“‘\"'(" or before.isupper()
    return (before.isascii() and before.isalpha()) or "À" <= before <= "ÿ"
