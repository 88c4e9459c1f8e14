r"""Bring text into normal form, the same for training data and prompts; its options are stored in every bundle.

The steps are tables: of characters and layout (`rules.py`), mojibake and line breaks (both here), personal data
(`personal_data.py`). `NormalForm.apply` runs them on one text. `corpus/cleaning/normalise.py` runs the same tables on
columns and gives the same result for any string.

The order of the steps makes the form idempotent: no earlier step would change the output of a later one. The only
library call is Python's own Unicode table (NFC), so upgrading a package does not change the normal form of a trained
model. A change of the tables gets a new edition; a vocabulary of another edition is refused.

Line breaks may have been escaped twice (`unescape_breaks`), removed (`restore_breaks`), or written as tags: `<br />`,
`<br>`, `<p>` and `</p>` become line breaks, also with spaces in them. Other tags stay. `repair` restores mojibake.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from html.entities import html5
from typing import Any

from .personal_data import MASKS
from .rules import CHARACTERS, LAYOUT, Repair, Step, TextRule, substitute

TAGS = TextRule("tags of line breaks", r"</?(?:[Bb][Rr]|[Pp])(?:[ /\t]|\\{1,4}t)*>", "\n", "<")

_BACKSLASH = r"(?<!\\)\\{1,4}"
_ESCAPE = rf"{_BACKSLASH}(?:r\\{{1,4}}n|[nrt])"
_CERTAIN = re.compile(
    rf"{_BACKSLASH}r\\{{1,4}}n"
    rf"|{_ESCAPE}(?=\\{{1,4}}[nrt]|https?://|www\.|[^a-z_\u00DF-\u00FF]|\Z)"
    rf"|(?:(?<=[.!?,;)\" \n\t])|(?<=\\n)|(?<=\\r)|(?<=\\t)|\A){_ESCAPE}"
)
_BREAK = re.compile(rf"{_BACKSLASH}(?:r\\{{1,4}}n|n)")
_QUOTE = re.compile(rf'{_BACKSLASH}"')
_ENDING = r"(?:com|net|org|edu|gov|info|biz|us|uk|pdf|jpe?g|png|gif|docx?|txt|html?|php|aspx?|js|mp3|mp4|exe|zip)"
_BEFORE = "a-z0-9ß-öø-ÿ)\\]”’%*"
_CAPITAL = "A-ZÀ-ÖØ-Þ"
# The first sign is consumed before any look-around, so that the engine can jump from one sign to the next.
_SENTENCE_END = re.compile(
    rf"[.!?](?:(?<=[{_BEFORE}][.!?])|(?<=[A-Z]{{3}}[.!?]))(?:(?<=[!?])[!?]{{0,15}}\.?)?[)\]”’]?"
    rf"(?=[{_CAPITAL}][a-zß-öø-ÿ]|[A-Z]{{2}}|[IA](?:['’ \n]|\Z)|P\.? ?S(?a:\b))(?!(?i:{_ENDING})(?a:\b))"
)
_ADDRESS = re.compile(r"://|@|[Ww][Ww][Ww]\.|\.(?:com|net|org|edu|gov)/")
_TOKEN = re.compile(r"[^ \n]+")
BYTES: dict[str, int] = {chr(byte): byte for byte in range(0x80, 0x100)}
"""Character → byte it was read from. Five bytes have no character in Windows-1252; they became C1 controls."""
_C1: dict[int, str] = {}
EXPECTED = (
    (0x80, 0x17F),  # Latin
    (0x192, 0x192),
    (0x2C6, 0x2C6),
    (0x2DC, 0x2DC),  # ƒ ˆ ˜, only in texts that were damaged twice
    (0x370, 0x52F),  # Greek, Cyrillic
    (0x1E00, 0x1EFF),  # Vietnamese
    (0x2000, 0x2BFF),  # punctuation, currencies, symbols
    (0x3000, 0x30FF),
    (0x3400, 0x9FFF),
    (0xAC00, 0xD7A3),  # Japanese, Chinese, Korean
    (0xFB00, 0xFB06),
    (0xFE0E, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFF01, 0xFFE6),
    (0xFFFD, 0xFFFD),
    (0x1F000, 0x1FAFF),  # emoji
)
"""Possible original characters, as closed ranges. No combining marks: they would merge with a neighbour."""
_CLOSING = frozenset((0x85, 0x92, 0x94, 0x96, 0x97, 0x99))  # … ’ ” – — ™
_EXPECTED_CODES = [code for low, high in EXPECTED for code in range(low, high + 1)]
_LEADS = frozenset(chr(code).encode()[0] for code in _EXPECTED_CODES)
EDITION = 3
"""Edition of the tables."""
ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
"""A character reference with its semicolon; without the semicolon, `&copy=1` in an address would match."""
ENTITY_ROUNDS = 3
"""Maximum number of decoding rounds; references in texts that were escaped more often become spaces."""
_ENTITY = re.compile(ENTITY)


def unescape_breaks(text: str) -> str:
    r"""Return *text* with its escaped line breaks and tabs as real characters.

    `\n`, `\r\n` and `\t` become the real characters where they are certainly escapes: as `\r\n`, next to another
    escape, after a space or the end of a sentence, or before anything but a small letter. If a text has one certain
    escape, all its `\n` are escapes. So `infant\toddler`, `barn\restaurant` and `C:\new` stay, because people do write
    a backslash instead of a slash. A `\"` becomes a quotation mark.
    """
    text = _QUOTE.sub('"', text)
    certain = _CERTAIN.sub(lambda match: "\t" if match[0].endswith("t") else "\n", text)
    if certain == text:
        return certain
    return _BREAK.sub("\n", certain)


ESCAPES = Repair("escaped line breaks", r'\\[nrt"]', unescape_breaks)


def restore_breaks(text: str) -> str:
    """Return *text* with a space where a sentence runs into the next.

    `quickly.The` gets a space after the full stop, also after `!`, `?` and a closing bracket. It gets a space and not a
    line break, because the original is unknown. A space is also right where the writer left it out, and in sources with
    intact line breaks this is every case. Not changed are ellipses (`so...The`), initials (`U.S.A`, `P.F.Chang`),
    addresses (`Yelp.Com`, any word with `://`, `@`, `www.`), file names, and a full stop before a small letter.
    """
    if not _ADDRESS.search(text):
        return _separate(text)
    return _TOKEN.sub(
        lambda token: token[0] if _ADDRESS.search(token[0]) else _separate(token[0]), text
    )


def _separate(text: str) -> str:
    return _SENTENCE_END.sub(lambda match: f"{match[0]} ", text)


BREAKS = Repair(
    "lost line breaks", rf"[{_BEFORE}A-Z](?:\.|[!?]+\.?)[)\]”’]?[{_CAPITAL}]", restore_breaks
)


for _byte in range(0x80, 0xA0):
    if _byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D):
        _C1[_byte] = bytes([_byte]).decode("cp1252")
        BYTES[_C1[_byte]] = _byte


def _class(*chosen: int) -> str:
    return "".join(re.escape(sign) for sign, byte in BYTES.items() if byte in chosen)


HINT = rf"[\x80-\x9F]|[{_class(*_LEADS)}][{_class(*range(0x80, 0xC0))}]"
_RUN = re.compile(f"[{_class(*range(0x80, 0x100))}]{{2,}}")


def repair(text: str) -> str:
    """Return *text* with every damaged sequence repaired, also those that a repair creates; in linear time.

    Mojibake is UTF-8 that was decoded as Windows-1252 or Latin-1, once or several times: `cafÃ©` is the UTF-8 of `café`,
    read byte by byte. A run of such characters is repaired where its bytes are valid UTF-8 for a character of
    `EXPECTED`. This is our own table and not a library's heuristic, because models are trained on the result: it must
    not change when a package is upgraded. On texts damaged on purpose it restores at least as many as ftfy 6.3
    (`tests/corpus/cleaning/test_clean_form.py` compares the two).

    Correct text can also have such neighbours, for example `CAFÉ”`. So a closing quotation mark, dash or ellipsis right
    after a letter is not changed where it may be intended (`_meant`).

    Single C1 controls are bytes of Windows-1252 that were read as Latin-1; so U+0085 becomes an ellipsis.
    """
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

    return "".join(
        _normal(sign) if new else sign for sign, new in zip(stack[1:], decoded[1:], strict=True)
    )


def _sequence(stack: list[str]) -> int:
    """Return the number of characters at the end of the stack that have the form of one UTF-8 sequence, or 0."""
    for size in range(1, min(5, len(stack))):
        byte = BYTES.get(stack[-size], 0)
        if not 0x80 <= byte < 0xC0:
            needed = 0
            if 0xC2 <= byte < 0xE0:
                needed = 2
            elif 0xE0 <= byte < 0xF0:
                needed = 3
            elif 0xF0 <= byte < 0xF5:
                needed = 4
            return size if size == needed else 0

    return 0


@lru_cache(maxsize=4096)
def _original(sequence: str) -> str:
    """Return the character whose UTF-8 bytes were read as another encoding and gave this sequence; "" if it is none."""
    try:
        sign = bytes(BYTES[each] for each in sequence).decode()
    except UnicodeDecodeError:
        return ""

    if not any(low <= ord(sign) <= high for low, high in EXPECTED):
        return ""

    # In NFC, the Kelvin sign is K, the Greek question mark a semicolon, the Angstrom sign half of a damaged letter:
    # together with their neighbours they could form text that an earlier step would have changed.
    if unicodedata.normalize("NFC", sign) == sign:
        return sign

    replaced = _normal(sign)
    if (replaced.isascii() or replaced in BYTES) and not replaced.isspace():
        return ""
    return sign


def _normal(sign: str) -> str:
    """Return the character in normal form, or a space if the normal form removes it."""
    return unicodedata.normalize("NFC", substitute(CHARACTERS, _C1.get(ord(sign), sign))) or " "


def _meant(before: str, sequence: list[str]) -> bool:
    """Return whether the characters are probably intended: a letter, and marks that close a word."""
    lead = sequence[0]
    if lead in "âïð" or not all(BYTES[sign] in _CLOSING for sign in sequence[1:]):
        return False
    # These leads are capital letters if they follow a capital, but not if they follow a lead.
    if len(sequence) == 2:
        if BYTES.get(before) in _LEADS or (lead not in "ÂÃ" and sequence[1] == "™"):
            return False
        return before in "“‘\"'(" or before.isupper()

    return (before.isascii() and before.isalpha()) or "À" <= before <= "ÿ"


__all__ = [
    "BREAKS",
    "CHARACTERS",
    "EDITION",
    "ENTITY",
    "ENTITY_ROUNDS",
    "ESCAPES",
    "LAYOUT",
    "MASKS",
    "REPAIR",
    "TAGS",
    "NormalForm",
    "Step",
    "decode_entity",
]


@lru_cache(maxsize=4096)
def decode_entity(reference: str) -> str | None:
    """Return the text of a character reference such as `&eacute;` or `&#39;`, or None for an unknown name.

    The character rules are applied to the text, so that decoding never writes a character that an earlier step would
    have removed. A reference to an invisible character becomes a space.
    """
    text = html.unescape(reference) if reference[1] == "#" else html5.get(reference[1:])
    if text is None:
        return None
    return unicodedata.normalize("NFC", substitute(CHARACTERS, text)) or " "


def require_unicode(text: str) -> None:
    """Refuse a string that no bytes of UTF-8 stand for, the same at every door of a model.

    Such a string holds a surrogate without its other half: Python's stand-in for a byte that is not UTF-8, on a command
    line or in a file name, or what a JSON escape such as `\\ud83d` leaves.

    Raises:
        ModelError: kind "input": names the first one and its place.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        from ..base import ModelError  # here, because text otherwise needs no NumPy

        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            what = f"the byte 0x{code & 0xFF:02X}"
        else:
            what = f"half a surrogate pair, U+{code:04X}"

        before = text[max(0, error.start - 20) : error.start]
        raise ModelError(
            f"the text is not valid Unicode: after {before!r} comes {what}; convert it to UTF-8",
            "input",
        ) from error


@dataclass(frozen=True)
class NormalForm:
    """The conversion of a text into the form that models read.

    Mojibake is repaired, entities are decoded, escaped line breaks and tags of line breaks become real ones, and line
    ends become `\\n`. Invisible characters are removed, other spaces become one plain space, and Unicode is NFC.
    At most one empty line stays between paragraphs, and the ends are stripped. Then personal data is replaced by
    `_email_`, `_url_`, `_card_`, `_phone_`, `_ssn_`, `_iban_`, `_ip_`, `_handle_`, `_key_`. At last a space is added
    where a sentence runs into the next.

    `apply(apply(text)) == apply(text)` for any text of Unicode.

    Args:
        mask_personal_data: Replace personal data by placeholders (`reviewlm.models.text.personal_data`).
        edition: Edition of the tables; see `EDITION`.
    """

    mask_personal_data: bool = True
    edition: int = EDITION

    @property
    def masks(self) -> tuple[Step, ...]:
        """The steps that write placeholders."""
        return MASKS if self.mask_personal_data else ()

    def apply(self, text: str) -> str:
        """Return the normal form of *text*.

        Raises:
            ModelError: kind "input": see `require_unicode`.
        """
        require_unicode(text)
        # Before the character rules, since damaged text has controls and soft hyphens.
        text = REPAIR.apply(text)
        text = unicodedata.normalize("NFC", substitute(CHARACTERS, text))
        if "&" in text:
            text = unicodedata.normalize("NFC", _unescape(text))

        # A character between two halves may have been removed.
        text = unicodedata.normalize("NFC", REPAIR.apply(text))
        text = ESCAPES.apply(TAGS.apply(text))
        text = substitute(LAYOUT, text).strip(" \n")
        return BREAKS.apply(substitute(self.masks, text))  # breaks would cut addresses

    def to_dict(self) -> dict[str, bool | int]:
        """Return the options as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> NormalForm:
        """Return the form with these options.

        Raises:
            ModelError: kind "bundle": it has other options, or another edition.
            ValueError: An option is not true or false.
        """
        other = set(options) ^ {field.name for field in fields(cls)}
        edition = options.get("edition")
        if other or edition != EDITION:
            from ..base import ModelError  # here, because text otherwise needs no NumPy

            if other:
                what = f"other options: {sorted(other)}"
            else:
                what = f"edition {edition!r}; this version reads {EDITION}"

            raise ModelError(f"The normal form of text has {what}", kind="bundle")
        if not all(isinstance(value, bool) for name, value in options.items() if name != "edition"):
            raise ValueError("the options of the normal form must be true or false")

        return cls(**options)


def _unescape(text: str) -> str:
    for _ in range(ENTITY_ROUNDS):
        decoded = _ENTITY.sub(_decode, text)
        if decoded == text:
            return text
        text = decoded
    # A space cannot be part of a reference, so a second call finds nothing to decode.
    return _ENTITY.sub(lambda match: match[0] if decode_entity(match[0]) is None else " ", text)


def _decode(match: re.Match[str]) -> str:
    decoded = decode_entity(match[0])
    return match[0] if decoded is None else decoded
