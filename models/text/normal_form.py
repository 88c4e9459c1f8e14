r"""Bring text into normal form, the same for training data and prompts; its options are stored in every bundle.

The steps are tables in this folder: `rules.py` (characters, layout), `mojibake.py`, `line_breaks.py`,
`personal_data.py`. `NormalForm.apply` runs them on one text. `corpus/cleaning/normalise.py` runs the same tables on
columns and gives the same result for any string.

The order of the steps makes the form idempotent: no earlier step would change the output of a later one. The only
library call is Python's own Unicode table (NFC), so upgrading a package does not change the normal form of a trained
model. A change of the tables gets a new edition; a vocabulary of another edition is refused.
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

from .line_breaks import BREAKS, ESCAPES, TAGS
from .mojibake import REPAIR
from .personal_data import MASKS
from .rules import CHARACTERS, LAYOUT, Step, substitute

__all__ = [
    "BREAKS", "CHARACTERS", "EDITION", "ENTITY", "ENTITY_ROUNDS", "ESCAPES", "LAYOUT", "MASKS", "REPAIR",
    "TAGS", "NormalForm", "Step", "decode_entity",
]

EDITION = 3
"""Edition of the tables."""

ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
"""A character reference with its semicolon; without the semicolon, `&copy=1` in an address would match."""

ENTITY_ROUNDS = 3
"""Maximum number of decoding rounds; references in texts that were escaped more often become spaces."""


_ENTITY = re.compile(ENTITY)


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
        what = f"the byte 0x{code & 0xFF:02X}" if 0xDC80 <= code <= 0xDCFF else f"half a surrogate pair, U+{code:04X}"
        before = text[max(0, error.start - 20) : error.start]
        raise ModelError(
            f"the text is not valid Unicode: after {before!r} comes {what}; convert it to UTF-8", "input"
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
        unescape_entities: Decode character references such as `&#39;`.
        repair_encoding: Repair mojibake and Windows-1252 controls (`models.text.mojibake`).
        restore_breaks: Restore line breaks that were escaped, tagged or lost (`models.text.line_breaks`).
        mask_personal_data: Replace personal data by placeholders (`models.text.personal_data`).
        edition: Edition of the tables; see `EDITION`.
    """

    unescape_entities: bool = True
    repair_encoding: bool = True
    restore_breaks: bool = True
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
        if self.repair_encoding:
            text = REPAIR.apply(text)  # before the character rules, since damaged text has controls and soft hyphens
        text = unicodedata.normalize("NFC", substitute(CHARACTERS, text))
        if self.unescape_entities and "&" in text:
            text = unicodedata.normalize("NFC", _unescape(text))
        if self.repair_encoding:  # again, since a character between two halves may have been removed
            text = unicodedata.normalize("NFC", REPAIR.apply(text))
        if self.restore_breaks:
            text = ESCAPES.apply(TAGS.apply(text))
        text = substitute(LAYOUT, text).strip(" \n")
        text = substitute(self.masks, text)  # before the breaks, which would cut addresses
        return BREAKS.apply(text) if self.restore_breaks else text

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
        other, edition = set(options) ^ {field.name for field in fields(cls)}, options.get("edition")
        if other or edition != EDITION:
            from ..base import ModelError  # here, because text otherwise needs no NumPy

            what = f"other options: {sorted(other)}" if other else f"edition {edition!r}; this version reads {EDITION}"
            raise ModelError(f"The normal form of text has {what}", kind="bundle")
        if not all(isinstance(value, bool) for name, value in options.items() if name != "edition"):
            raise ValueError("the options of the normal form must be true or false")
        return cls(**options)


def _unescape(text: str) -> str:
    for _ in range(ENTITY_ROUNDS):
        decoded = _ENTITY.sub(_decoded, text)
        if decoded == text:
            return text
        text = decoded
    # A space cannot be part of a reference, so a second call finds nothing to decode.
    return _ENTITY.sub(lambda match: match[0] if decode_entity(match[0]) is None else " ", text)


def _decoded(match: re.Match[str]) -> str:
    decoded = decode_entity(match[0])
    return match[0] if decoded is None else decoded
