"""Apply the normal form of `models.text.normal_form` to whole columns, with the same tables and patterns in polars."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache

import polars as pl

from models.text.normal_form import (
    BREAKS,
    CHARACTERS,
    ENTITY,
    ENTITY_ROUNDS,
    ESCAPES,
    LAYOUT,
    MASKS,
    REPAIR,
    TAGS,
    NormalForm,
    Step,
    decode_entity,
)
from models.text.rules import Repair

_BEYOND_ASCII = r"[^\n -~]"
"""Texts without such a character need no repair of encoding or characters; that is most reviews."""
_PERHAPS_NOT_NFC = r"[^\x00-\u02FF\u2010-\u2027\u2030-\u205E\u20A0-\u20BF]"


def normalise(texts: pl.Series, form: NormalForm) -> pl.Series:
    """Return the normal form of each text, exactly as `form.apply` does, from the same tables.

    Most texts are in normal form already. One pattern finds the others, so that each step looks at these only.
    """
    return _where(texts, changed_by(form), lambda some: _normalised(some, form))


@cache
def changed_by(form: NormalForm) -> str:
    """Return a pattern for polars; a text without a match is in normal form already.

    No step can change such a text, so each step is given it as it was.
    """
    steps = (TAGS, ESCAPES, *LAYOUT, *form.masks, BREAKS)
    hints = (_BEYOND_ASCII, "&", r"\A[ \n]", r"[ \n]\z", *(step.hint for step in steps))
    return "|".join(f"(?:{hint})" for hint in hints)


def _normalised(texts: pl.Series, form: NormalForm) -> pl.Series:
    texts = _where(texts, _BEYOND_ASCII, lambda some: _nfc(_substitute(some, (REPAIR, *CHARACTERS))))
    texts = _where(texts, "&", lambda some: _nfc(_unescape(some)))
    texts = _where(texts, REPAIR.hint, lambda some: _nfc(_substitute(some, (REPAIR,))))
    texts = _substitute(texts, (TAGS, ESCAPES, *LAYOUT)).str.strip_chars(" \n")
    return _substitute(texts, (*form.masks, BREAKS))


def count_masks(texts: pl.Series) -> dict[str, int]:
    """Return the number of occurrences of each placeholder in *texts*: {"email": n, "url": n, …}.

    An author may have typed a placeholder. So the number written by masking is the count in the cleaned texts minus the
    count in the raw texts.
    """
    marks = dict.fromkeys(step.replacement for step in MASKS)
    marked = texts.filter(texts.str.contains("_", literal=True).fill_null(False))
    return {mark.strip("_"): int(marked.str.count_matches(mark, literal=True).sum()) for mark in marks}


def _substitute(texts: pl.Series, steps: tuple[Step, ...]) -> pl.Series:
    for step in steps:
        if isinstance(step, Repair):
            texts = _where(texts, step.hint, _one_by_one(step.apply))
        else:
            texts = texts.str.replace_all(step.rust, step.replacement)
    return texts


def _one_by_one(change: Callable[[str], str]) -> Callable[[pl.Series], pl.Series]:
    return lambda some: pl.Series([change(text) for text in some.to_list()], dtype=pl.String)


def _where(texts: pl.Series, pattern: str, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Change only the texts that contain the pattern; most texts need none of the slow steps."""
    chosen = texts.str.contains(pattern)
    return texts.scatter(chosen.arg_true(), change(texts.filter(chosen))) if chosen.any() else texts


def _nfc(texts: pl.Series) -> pl.Series:
    """Normalise to NFC with Python's Unicode tables, as `form.apply` does; those of polars may have another version."""
    change = _one_by_one(lambda text: unicodedata.normalize("NFC", text))
    return _where(texts, _PERHAPS_NOT_NFC, change)


def _unescape(texts: pl.Series) -> pl.Series:
    for _ in range(ENTITY_ROUNDS):
        references = _references(texts)
        if not references:
            return texts
        texts = texts.str.replace_many(list(references), list(references.values()))
    left = list(_references(texts))
    return texts.str.replace_many(left, [" "] * len(left)) if left else texts


def _references(texts: pl.Series) -> dict[str, str]:
    """Return the character references in the texts with their decoded text; they are few and cannot overlap."""
    references = texts.str.extract_all(ENTITY).explode().drop_nulls().unique().sort().to_list()
    decoded = {reference: decode_entity(reference) for reference in references}
    return {reference: text for reference, text in decoded.items() if text is not None}
