"""Say what a model is asked for that its training did not have: a star rating, a script.

A model answers anything: after a star token that it never met, and after letters that its vocabulary does not have, it
writes as fluently as ever, and nobody notices that the request had no effect. What it has met is read from its bundle:
the shares of the ratings in training (`Bundle.stars_prior`), and the letters of the vocabulary's entries.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from ..tokens.vocabulary import Vocabulary
from ..tokens.words import FIRST
from .bundle import Bundle

SCRIPTS = {
    "LATIN": "Latin", "CYRILLIC": "Cyrillic", "GREEK": "Greek", "ARMENIAN": "Armenian", "GEORGIAN": "Georgian",
    "HEBREW": "Hebrew", "ARABIC": "Arabic", "SYRIAC": "Syriac", "ETHIOPIC": "Ethiopic", "DEVANAGARI": "Devanagari",
    "BENGALI": "Bengali", "GURMUKHI": "Gurmukhi", "GUJARATI": "Gujarati", "TAMIL": "Tamil", "TELUGU": "Telugu",
    "KANNADA": "Kannada", "MALAYALAM": "Malayalam", "SINHALA": "Sinhala", "THAI": "Thai", "LAO": "Lao",
    "TIBETAN": "Tibetan", "MYANMAR": "Burmese", "KHMER": "Khmer", "MONGOLIAN": "Mongolian", "HANGUL": "Korean (Hangul)",
    "HIRAGANA": "Japanese (Hiragana)", "KATAKANA": "Japanese (Katakana)", "CJK": "Chinese (Han)",
}  # fmt: skip
"""First word of a letter's Unicode name, and what the script is called. Letters of other names are signs and symbols
that belong to no script."""


def unseen_warnings(bundle: Bundle, text: str = "", stars: int | None = None) -> list[str]:
    """Return a sentence about each thing that is asked of a model and that it has not met in training.

    Args:
        bundle: The model.
        text: A prompt, or a text to be scored.
        stars: The rating that was asked for; None asks for none.
    """
    return [*_of_stars(bundle.stars_prior, stars), *_of_scripts(bundle.vocabulary, text)]


def _of_stars(shares: tuple[float, ...], stars: int | None) -> Iterator[str]:
    """Say that no review of this rating was learnt from; all shares are 0 where the training had no review."""
    if stars is None or shares[stars] or not any(shares):
        return
    seen = [f"{rating}" for rating, share in enumerate(shares) if share and rating]
    rating = f"{stars} star{'' if stars == 1 else 's'}" if stars else "an unknown rating"
    learnt = f"only reviews of {', '.join(seen)} stars were learnt from" if seen else "none had a rating at all"
    yield f"The model has never seen a review of {rating}: {learnt}. Asking for it means nothing to this model."


def _of_scripts(vocabulary: Vocabulary, text: str) -> Iterator[str]:
    """Say of each script of a text that no entry of the vocabulary has a letter of it."""
    missing = scripts_of(vocabulary.normal_form.apply(text))
    for token in range(FIRST, vocabulary.size):
        if not missing:
            return
        entry = vocabulary.entry(token)
        if not _is_placeholder(entry):
            missing -= scripts_of(entry.decode("utf-8", errors="ignore"))
    for name in sorted(missing):
        yield (
            f"The text has letters in {SCRIPTS[name]} script, of which the model's vocabulary has none: it cannot read "
            "them."
        )


def scripts_of(text: str) -> set[str]:
    """Return the scripts of a text's letters, as keys of `SCRIPTS`."""
    names = {unicodedata.name(sign, "").split(" ", 1)[0].split("-", 1)[0] for sign in set(text) if sign.isalpha()}
    return names & SCRIPTS.keys()


def _is_placeholder(entry: bytes) -> bool:
    """Return whether an entry stands for masked personal data, whatever the script of the reviews."""
    return len(entry) > 2 and entry.startswith(b"_") and entry.endswith(b"_")
