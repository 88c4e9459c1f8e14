"""The normal form of `models.text` for whole columns: the same table of patterns as polars expressions."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import polars as pl

from models.text import CHARACTERS, ENTITY, ENTITY_ROUNDS, LAYOUT, MASKS, NormalForm, Rule, decode_entity

_PERHAPS_NOT_NFC = r"[^\x00-\u02FF\u2010-\u2027\u2030-\u205E\u20A0-\u20BF]"


def normalise(texts: pl.Series, form: NormalForm) -> pl.Series:
    """Return the normal form of each text: exactly `form.apply`, from the same table of patterns."""
    texts = _nfc(_substitute(texts, CHARACTERS))
    if form.unescape_entities:
        texts = _where(texts, texts.str.contains("&", literal=True), lambda some: _nfc(_unescape(some)))
    texts = _substitute(texts, LAYOUT).str.strip_chars(" \n")
    return _substitute(texts, MASKS) if form.mask_personal_data else texts


def _substitute(texts: pl.Series, rules: tuple[Rule, ...]) -> pl.Series:
    for rule in rules:
        texts = texts.str.replace_all(rule.rust, rule.replacement)
    return texts


def _where(texts: pl.Series, chosen: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Change the chosen texts only; most texts need none of the slow steps."""
    if not chosen.any():
        return texts
    return texts.scatter(chosen.arg_true(), change(texts.filter(chosen)))


def _nfc(texts: pl.Series) -> pl.Series:
    """Python's Unicode tables, not polars' own, so that both forms agree on characters that are newer than one."""

    def change(some: pl.Series) -> pl.Series:
        return pl.Series([unicodedata.normalize("NFC", text) for text in some.to_list()], dtype=pl.String)

    return _where(texts, texts.str.contains(_PERHAPS_NOT_NFC), change)


def _unescape(texts: pl.Series) -> pl.Series:
    for _ in range(ENTITY_ROUNDS):
        known = _references(texts)
        if not known:
            return texts
        texts = texts.str.replace_many(list(known), list(known.values()))
    left = list(_references(texts))
    return texts.str.replace_many(left, [" "] * len(left)) if left else texts


def _references(texts: pl.Series) -> dict[str, str]:
    """Return the character references that occur, and what they stand for; they are few, and cannot overlap."""
    found = texts.str.extract_all(ENTITY).explode().drop_nulls().unique().sort().to_list()
    decoded = {reference: decode_entity(reference) for reference in found}
    return {reference: text for reference, text in decoded.items() if text is not None}
