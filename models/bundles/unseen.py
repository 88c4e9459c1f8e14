"""Warn about a star rating or a script that the training of a model did not have.

A model writes fluent text after any request, also after a star token or letters that it has never seen. So the user
does not notice that the request had no effect. The bundle shows what the training had: the shares of the ratings
(`Bundle.stars_prior`), and the letters of the vocabulary's entries.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

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
"""First word of a letter's Unicode name → name of the script. Letters with other names are signs and symbols that
belong to no script."""


def unseen_warnings(bundle: Bundle, text: str = "", stars: int | None = None) -> list[str]:
    """Return one sentence for each requested rating or script that the model has not seen in training.

    Args:
        text: A prompt, or a text to be scored.
        stars: The requested rating; None: no rating was requested.
    """
    return [*_of_stars(bundle.stars_prior, stars), *script_warnings(bundle.vocabulary, text)]


def _of_stars(shares: tuple[float, ...], stars: int | None) -> Iterator[str]:
    """Yield a warning if the training had no review of this rating; no warning if it had no reviews at all."""
    if stars is None or shares[stars] or not any(shares):
        return
    seen = [f"{rating}" for rating, share in enumerate(shares) if share and rating]
    rating = f"{stars} star{'' if stars == 1 else 's'}" if stars else "an unknown rating"
    learnt = f"it was trained on reviews of {', '.join(seen)} stars only" if seen else "none had a rating at all"
    yield f"The model has never seen a review of {rating}: {learnt}. This model does not know what the rating means."


def script_warnings(vocabulary: Vocabulary, text: str) -> list[str]:
    """Return a sentence for each script of the text of which no entry of the vocabulary has a letter."""
    scripts = scripts_of(vocabulary.normal_form.apply(text))
    unable = "reads them as bytes and has seen hardly any" if vocabulary.lossless else "cannot read them"
    return [
        f"The text has letters in {SCRIPTS[name]} script, which the model's vocabulary lacks: it {unable}."
        for name in sorted(scripts and scripts - _known_scripts(vocabulary))
    ]


@lru_cache(maxsize=4)
def _known_scripts(vocabulary: Vocabulary) -> set[str]:
    """Return the scripts of all entries; computed once, since a served model asks for every row."""
    entries = (vocabulary.entry(token) for token in range(FIRST, vocabulary.size))
    letters = (entry.decode("utf-8", errors="ignore") for entry in entries if not _is_placeholder(entry))
    return scripts_of("".join(letters))


def scripts_of(text: str) -> set[str]:
    """Return the scripts of a text's letters, as keys of `SCRIPTS`."""
    names = {unicodedata.name(sign, "").split(" ", 1)[0].split("-", 1)[0] for sign in set(text) if sign.isalpha()}
    return names & SCRIPTS.keys()


def _is_placeholder(entry: bytes) -> bool:
    """Return whether an entry is a placeholder for personal data; its letters are no sign of the reviews' script."""
    return len(entry) > 2 and entry.startswith(b"_") and entry.endswith(b"_")
