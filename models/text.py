r"""The normal form of a text, which training data and prompts share: it travels in every bundle.

The rules stand in one table of patterns. `NormalForm.apply` runs them with Python's `re`; `corpus/normalise.py` runs
the same table as polars expressions. The two engines agree on any string because the patterns name their characters
one by one (`\s`, `\w` and case folding differ between Python and Rust) and use nothing but what both have.

The order of the steps makes the form idempotent: whatever a later step writes, no earlier step would change.
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

ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
"""A character reference with its semicolon; without one, `&copy=1` in an address would be taken for a sign."""

ENTITY_ROUNDS = 3
"""Texts that were escaped more often than this keep a space in place of the reference."""


@dataclass(frozen=True)
class Rule:
    """One substitution: every leftmost, non-overlapping match of *pattern* becomes *replacement* (literal text).

    Args:
        name: What the rule is for.
        pattern: In Python's syntax; `rust` gives the same in that of polars.
        replacement: Literal text without `$` or a backslash, which the engines read differently.
    """

    name: str
    pattern: str
    replacement: str

    @property
    def rust(self) -> str:
        """The pattern for polars: only the flag for ASCII word boundaries is spelled differently."""
        return self.pattern.replace("(?a:", "(?-u:")


CHARACTERS: tuple[Rule, ...] = (
    # Controls (C0 without tab, line feed, VT, FF, CR; DEL; C1 without NEL), soft hyphen, zero-width space, word joiner,
    # direction marks, byte order mark, non-characters. The joiners U+200C/D stay: emoji and some scripts need them.
    Rule(
        "invisible",
        r"[\x00-\x08\x0E-\x1F\x7F-\x84\x86-\x9F\u00AD\u200B\u200E\u200F\u202A-\u202E\u2060\u2066-\u2069\uFEFF\uFFFE\uFFFF]",
        "",
    ),
    Rule("line breaks", r"\r\n|[\r\x0B\x0C\x85\u2028\u2029]", "\n"),
    Rule("spaces", r"[\u00A0\u1680\u2000-\u200A\u202F\u205F\u3000]", " "),
)

LAYOUT: tuple[Rule, ...] = (
    Rule("runs of spaces", r"[ \t]+", " "),
    Rule("spaces at line ends", r" ?\n ?", "\n"),
    Rule("empty lines", r"\n{3,}", "\n\n"),
)

_TAIL = r"""[^ \n<>"]*[^ \n<>".,;:!?')\]}*]"""
# Every repetition is bounded or anchored by a sign, so that no text makes Python's engine run in quadratic time.
MASKS: tuple[Rule, ...] = (
    Rule(
        "e-mail",
        r"[A-Za-z0-9._%+-]{1,64}(?:@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})+",
        "_email_",
    ),
    Rule(
        "web address",
        rf"(?:[Hh][Tt][Tt][Pp][Ss]?://|(?a:\b)[Ww][Ww][Ww]\.[A-Za-z0-9]){_TAIL}"
        rf"|(?a:\b)(?:[A-Za-z0-9-]{{1,63}}\.){{1,5}}(?:com|net|org|edu|gov|info|biz|us)/(?:{_TAIL})?",
        "_url_",
    ),
    Rule(
        "card number",
        r"(?a:\b)(?:[3-6][0-9]{3}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{1,4}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5})(?a:\b)",
        "_card_",
    ),
    Rule(
        "telephone number",
        r"(?:\+?(?a:\b)1[-. ]?)?(?:\([2-9][0-9]{2}\)[- ]?|(?a:\b)[2-9][0-9]{2}[-. ]?)"
        r"[2-9][0-9]{2}[-. ]?[0-9]{4}(?a:\b)",
        "_phone_",
    ),
)

PATTERNS: Mapping[str, tuple[Rule, ...]] = {"characters": CHARACTERS, "layout": LAYOUT, "masks": MASKS}
"""All rules by step. Between "characters" and "layout" stand Unicode's NFC and the character references."""

_ENTITY = re.compile(ENTITY)
_COMPILED = {rule.name: re.compile(rule.pattern) for rules in PATTERNS.values() for rule in rules}


def substitute(rules: tuple[Rule, ...], text: str) -> str:
    """Return *text* after the rules, one after another."""
    for rule in rules:
        text = _COMPILED[rule.name].sub(rule.replacement, text)
    return text


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

    Entities are decoded, line ends become `\\n`, invisible characters and lone surrogates go, other spaces become one
    plain space, Unicode is NFC, at most one empty line stands between paragraphs, the ends are stripped; then personal
    data is replaced by `_email_`, `_url_`, `_card_`, `_phone_`.

    `apply(apply(text)) == apply(text)` for any text.
    """

    unescape_entities: bool = True
    repair_encoding: bool = True
    restore_breaks: bool = True
    mask_personal_data: bool = True

    def apply(self, text: str) -> str:
        """Return the normal form of *text*; never fails, whatever the string holds."""
        text = text.encode("utf-8", "ignore").decode("utf-8")  # lone surrogates are no text
        text = unicodedata.normalize("NFC", substitute(CHARACTERS, text))
        if self.unescape_entities and "&" in text:
            text = unicodedata.normalize("NFC", _unescape(text))
        text = substitute(LAYOUT, text).strip(" \n")
        return substitute(MASKS, text) if self.mask_personal_data else text

    def to_dict(self) -> dict[str, bool]:
        """Return the options as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> NormalForm:
        """Return the form with these options; missing ones take their defaults.

        Raises:
            ModelError: (kind "bundle") An option is unknown: a newer version may have written it.
        """
        unknown = set(options) - {field.name for field in fields(cls)}
        if unknown:
            from .base import ModelError  # here, since it brings torch, which a text does not need

            raise ModelError(f"The normal form of text has unknown options {sorted(unknown)}", kind="bundle")
        return cls(**options)


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
