r"""The normal form of a text, which training data and prompts share: it travels in every bundle.

The steps stand in tables: `rules` (characters, layout), `mojibake`, `line_breaks`, `personal_data`. `NormalForm.apply`
runs them on one text; `corpus/cleaning/normalise.py` runs the same tables on columns, and agrees on any string.

The order of the steps makes the form idempotent: whatever a later step writes, no earlier step would change. The one
library call is Python's own Unicode table (NFC), so that upgrading a package leaves a trained model's form alone; what
is improved later gets a new edition, and a model keeps its own.
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

from .line_breaks import BREAKS, ESCAPES
from .mojibake import REPAIR
from .personal_data import MASKS, MASKS_BEFORE
from .rules import CHARACTERS, LAYOUT, Step, substitute

__all__ = [
    "BREAKS", "CHARACTERS", "EDITION", "ENTITY", "ENTITY_ROUNDS", "ESCAPES", "LAYOUT", "MASKS", "REPAIR",
    "NormalForm", "Step", "decode_entity",
]

EDITION = 3
"""The edition of the tables. 1 had other patterns for addresses, cards and telephone numbers; 3 added kinds to 2."""

ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
"""A character reference with its semicolon; without one, `&copy=1` in an address would be taken for a sign."""

ENTITY_ROUNDS = 3
"""Texts that were escaped more often than this keep a space in place of the reference."""


_ENTITY = re.compile(ENTITY)


@lru_cache(maxsize=4096)
def decode_entity(reference: str) -> str | None:
    """Return what a character reference such as `&eacute;` or `&#39;` stands for, or None for an unknown name.

    What it stands for has already gone through the character rules, so that decoding never writes what an earlier
    step would have removed; a reference to an invisible character becomes a space.
    """
    text = html.unescape(reference) if reference[1] == "#" else html5.get(reference[1:])
    if text is None:
        return None
    return unicodedata.normalize("NFC", substitute(CHARACTERS, text)) or " "


@dataclass(frozen=True)
class NormalForm:
    """How a text is brought into the form that models see.

    Mojibake is turned back, entities are decoded, escaped line breaks become real ones, line ends become `\\n`,
    invisible characters and lone surrogates go, other spaces become one plain space, Unicode is NFC, at most one empty
    line stands between paragraphs, the ends are stripped; then personal data is replaced by `_email_`, `_url_`,
    `_card_`, `_phone_`, `_ssn_`, `_iban_`, `_ip_`, `_handle_`, `_key_`, and a sentence that runs into the next gets a
    space between.

    `apply(apply(text)) == apply(text)` for any text.

    Args:
        unescape_entities: Decode character references such as `&#39;`.
        repair_encoding: Turn mojibake and Windows-1252 controls back (`models.text.mojibake`).
        restore_breaks: Escaped and lost line breaks (`models.text.line_breaks`).
        mask_personal_data: Write placeholders (`models.text.personal_data`).
        edition: Which edition of the tables; see `EDITION`.
    """

    unescape_entities: bool = True
    repair_encoding: bool = True
    restore_breaks: bool = True
    mask_personal_data: bool = True
    edition: int = EDITION

    @property
    def masks(self) -> tuple[Step, ...]:
        """The steps that write placeholders."""
        if not self.mask_personal_data:
            return ()
        return MASKS_BEFORE.get(self.edition, MASKS)

    def apply(self, text: str) -> str:
        """Return the normal form of *text*; never fails, whatever the string holds."""
        text = text.encode("utf-8", "ignore").decode("utf-8")  # lone surrogates are no text
        if self.repair_encoding:
            text = REPAIR.apply(text)  # before the characters, since damaged text holds controls and soft hyphens
        text = unicodedata.normalize("NFC", substitute(CHARACTERS, text))
        if self.unescape_entities and "&" in text:
            text = unicodedata.normalize("NFC", _unescape(text))
        if self.repair_encoding:  # again, since what stood between two halves may be gone
            text = unicodedata.normalize("NFC", REPAIR.apply(text))
        if self.restore_breaks:
            text = ESCAPES.apply(text)
        text = substitute(LAYOUT, text).strip(" \n")
        text = substitute(self.masks, text)  # before the breaks, which would cut addresses
        return BREAKS.apply(text) if self.restore_breaks else text

    def to_dict(self) -> dict[str, bool | int]:
        """Return the options as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> NormalForm:
        """Return the form with these options. Those that an older bundle lacks are off: it was trained without them.

        Raises:
            ModelError: (kind "bundle") An option or the edition is unknown: a newer version may have written it.
        """
        unknown = set(options) - {field.name for field in fields(cls)}
        edition = options.get("edition", 1)
        if unknown or edition not in range(1, EDITION + 1):
            from ..base import ModelError  # here, since it brings torch, which a text does not need

            what = f"unknown options {sorted(unknown)}" if unknown else f"edition {edition!r}, known are 1 to {EDITION}"
            raise ModelError(f"The normal form of text has {what}", kind="bundle")
        if not all(isinstance(value, bool) for name, value in options.items() if name != "edition"):
            raise ValueError("the options of the normal form must be true or false")
        return cls(**{**{field.name: False for field in fields(cls)}, **options, "edition": edition})


def _unescape(text: str) -> str:
    for _ in range(ENTITY_ROUNDS):
        decoded = _ENTITY.sub(_decoded, text)
        if decoded == text:
            return text
        text = decoded
    # A space cannot be part of a reference, so nothing is left that another application would decode.
    return _ENTITY.sub(lambda match: match[0] if decode_entity(match[0]) is None else " ", text)


def _decoded(match: re.Match[str]) -> str:
    decoded = decode_entity(match[0])
    return match[0] if decoded is None else decoded
