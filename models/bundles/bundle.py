"""Save and load a language model with everything that is needed to use it, as a folder (`sealed_folder.py`).

**Number format.** Texts are written in int8 where this processor is quick at it and little is lost (`writer_of`). With
VNNI or AVX2 a step in int8 takes a part of one in float32; elsewhere there is none. What int8 loses was measured on
the validation reviews when the model was fitted, and its bundle says it. All doors write with the same format, so a
seed gives the same text in each of them. Scores, suggestions and beam search are always computed in float32.

**Warnings** about a star rating or a script that the training did not have (`unseen_warnings`): a model writes fluent
text after any request, also after a star token or letters that it has never seen. So the user does not notice that the
request had no effect. The bundle shows what the training had: the shares of the ratings (`Bundle.stars_prior`), and the
letters of the vocabulary's entries.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import inf, isfinite, isnan
from numbers import Integral
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..base import INTERFACE, LanguageModel, ModelError
from ..specs import KINDS, ModelSpec, model_class, spec_from_dict, to_dict
from ..text.given import given_text, given_texts
from ..tokens.special import BOS
from ..tokens.vocabulary import Vocabulary, batch_texts
from ..tokens.words import FIRST
from .description import FORMAT, Description, Finite, Version
from .description import SPEC as SPEC
from .sealed_folder import compare_probes, open_model, write_model
from .text_scores import TextScore, TextsToScore

INT8_LOSS = "int8_loss"
"""Fact: by which share int8 raises the perplexity of the reviews that the fit was validated with."""
MOST_LOSS = 0.001
"""Largest such share with which texts are written in int8."""
POSITIONS = 16_384
"""Positions that are scored together, padding and ratings included; bounds the memory."""
EQUAL_STARS = (0.0, 0.2, 0.2, 0.2, 0.2, 0.2)
SCRIPTS = {
    "LATIN": "Latin",
    "CYRILLIC": "Cyrillic",
    "GREEK": "Greek",
    "ARMENIAN": "Armenian",
    "GEORGIAN": "Georgian",
    "HEBREW": "Hebrew",
    "ARABIC": "Arabic",
    "SYRIAC": "Syriac",
    "ETHIOPIC": "Ethiopic",
    "DEVANAGARI": "Devanagari",
    "BENGALI": "Bengali",
    "GURMUKHI": "Gurmukhi",
    "GUJARATI": "Gujarati",
    "TAMIL": "Tamil",
    "TELUGU": "Telugu",
    "KANNADA": "Kannada",
    "MALAYALAM": "Malayalam",
    "SINHALA": "Sinhala",
    "THAI": "Thai",
    "LAO": "Lao",
    "TIBETAN": "Tibetan",
    "MYANMAR": "Burmese",
    "KHMER": "Khmer",
    "MONGOLIAN": "Mongolian",
    "HANGUL": "Korean (Hangul)",
    "HIRAGANA": "Japanese (Hiragana)",
    "KATAKANA": "Japanese (Katakana)",
    "CJK": "Chinese (Han)",
}
"""First word of a letter's Unicode name → name of the script. Letters with other names are signs and symbols that
belong to no script."""


class TextWriter(NamedTuple):
    """The model whose steps write texts.

    Args:
        model: It continues from states of the bundle's model. In int8, steps may give log p plus a number.
        numbers: Its number format.
        why: Why this format, for people.
    """

    model: LanguageModel
    numbers: Literal["float32", "int8"]
    why: str


def writer_of(model: LanguageModel, facts: Mapping[str, object]) -> TextWriter:
    """Return the model that writes the texts of a bundle on this processor.

    Args:
        model: The bundle's model.
        facts: Facts recorded about its training.
    """
    loss = facts.get(INT8_LOSS)
    if not isinstance(loss, int | float) or isinstance(loss, bool) or not isfinite(loss):
        return TextWriter(model, "float32", "int8 needs a network whose fit has measured its loss")

    change = f"changes the perplexity of reviews by {loss:+.3%}"
    if loss > MOST_LOSS:
        return TextWriter(model, "float32", f"int8 {change}, more than {MOST_LOSS:.1%}")

    quick = in_int8(model)
    if quick is None:
        return TextWriter(model, "float32", "this processor has no instructions for int8")

    return TextWriter(quick, "int8", f"it {change}")


def in_int8(model: Any, normalise: bool = False) -> LanguageModel | None:
    """Return a model that shares this one's weights, but whose steps are in int8; for scores use the model itself.

    A model that combines others gets its networks in int8. None: there is none, or not on the processor.

    Args:
        model: Any model.
        normalise: False: the steps of a network with a plain softmax give log-probabilities plus a number.
    """
    if convert := getattr(model, "in_int8", None):
        return cast("LanguageModel | None", convert(normalise))

    converted = copy(model)
    changed = False
    for name in ("model", "network_model"):
        part = getattr(model, name, None)
        if part is not None and (quick := in_int8(part, normalise=True)) is not None:
            setattr(converted, name, quick)
            changed = True

    if parts := getattr(model, "models", ()):
        quick_parts = [in_int8(part, normalise=True) for part in parts]
        converted.models = tuple(
            quick or part for quick, part in zip(quick_parts, parts, strict=True)
        )
        changed = changed or any(quick is not None for quick in quick_parts)

    if changed:
        return cast(LanguageModel, converted)
    return None


@dataclass(frozen=True)
class Bundle:
    """A model with everything that is needed to use it.

    Args:
        spec: Its options.
        vocabulary: Its vocabulary.
        model: The model itself.
        facts: Facts recorded about its training (data digest, figures).
        digest: SHA-256 that identifies all of its files; empty unless it was loaded from a folder.
        stars_prior: Shares of the ratings 0 (unknown) to 5 in the training reviews.
    """

    spec: ModelSpec
    vocabulary: Vocabulary
    model: LanguageModel
    facts: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    stars_prior: tuple[float, ...] = EQUAL_STARS

    @cached_property
    def writer(self) -> TextWriter:
        """The model whose steps write texts, in the number format that this processor is quick at."""
        return writer_of(self.model, self.facts)

    def ratings(self, stars: int | None) -> list[int]:
        """Return the ratings that a text is read with: *stars*, or without one all of the training reviews.

        Raises:
            ModelError: kind "input": *stars* is not None and not a whole number from 0 to 5.
        """
        require_stars(stars)
        seen = [rating for rating, share in enumerate(self.stars_prior) if share > 0]
        return [stars] if stars is not None else seen or [0]

    def reader(self, stars: int | None) -> tuple[LanguageModel, list[int]]:
        """Return the model that reads a text of this rating or of any, and the tokens before the text's own.

        Raises:
            ModelError: kind "input": *stars* is not None and not a whole number from 0 to 5.
        """
        ratings = self.ratings(stars)
        if len(ratings) == 1:
            return self.model, self.vocabulary.prefix(ratings[0])
        return self._any_rating, [BOS]

    @cached_property
    def _any_rating(self) -> LanguageModel:
        """The model that reads a text of any rating; one object, which has read how texts begin."""
        from .any_rating import AnyRating, AnyRatingMixture  # imports torch

        ratings = self.ratings(None)
        shares_R = np.array([self.stars_prior[rating] for rating in ratings])
        kind = AnyRatingMixture if hasattr(self.model, "attribute") else AnyRating
        return kind(self.model, ratings, shares_R / shares_R.sum())

    def score_text(self, text: str, stars: int | None = None) -> TextScore:
        """Return the scores of one text; see `score_texts`."""
        return self.score_texts([given_text(text, "text")], stars)[0]

    def score_texts(self, texts: Sequence[str], stars: int | None = None) -> list[TextScore]:
        """Return the scores of each text, which is first brought into normal form and read from the start state.

        Without a rating, its probability is the average over the ratings of the training reviews (`any_rating.py`).
        Texts of similar length are read side by side, which changes no number beyond rounding.

        Raises:
            ModelError: kind "input": *texts* is no list of texts (see `given_texts`), or *stars* is not None and not a
                whole number from 0 to 5.
        """
        model, prefix = self.reader(stars)
        results: list[TextScore] = []
        for some in batch_texts(given_texts(texts)):
            read = TextsToScore(self.vocabulary, prefix)
            read.add(some, stars)
            scores: dict[int, TextScore] = {}
            for rows in read.side_by_side(POSITIONS // len(self.ratings(stars))):
                nats_BT = model.score(read.pad_tokens(rows), model.start(len(rows)))[0]
                scores |= {
                    row: read.score(row, nats_T) for row, nats_T in zip(rows, nats_BT, strict=True)
                }
            results += [scores[row] for row in range(len(some))]

        return results


def require_stars(stars: int | None) -> None:
    """Raise ModelError (kind "input") unless *stars* is None or a whole number from 0 to 5."""
    whole = isinstance(stars, Integral) and not isinstance(stars, bool)
    if stars is not None and (not whole or stars not in range(6)):
        raise ModelError(
            f"stars is {stars!r}; it must be a whole number from 0 (unknown) to 5, or left out",
            "input",
        )


class ScoredProbe(BaseModel):
    """A text with its nats; none: infinitely many, which JSON does not have."""

    model_config = ConfigDict(strict=True)

    text: str
    stars: Annotated[int, Field(ge=0, le=5)] | None
    nats: Finite | None


class LanguageDescription(Description):
    """The description of a language model."""

    versions: ClassVar[Mapping[str, int]] = {"format": FORMAT, "interface": INTERFACE}

    interface: Version
    boundary_policy: str
    stars_prior: Annotated[list[Annotated[Finite, Field(ge=0)]], Field(min_length=6, max_length=6)]
    probes: list[ScoredProbe]

    @classmethod
    def of(cls, values: Any, kinds: Collection[str]) -> Self:
        """Do the same; raise ModelError (kind "bundle") for the bundle of another family, such as a classifier."""
        if isinstance(values, dict) and values.get("task") is not None:
            what = f"it is not a language model: its task is {str(values['task'])[:40]!r}"
            raise ModelError(f"{what}, see `reviewlm models classify`", "bundle")
        described = super().of(values, kinds)
        if not any(described.stars_prior):
            raise ValueError("'stars_prior' must not be 0 for all ratings")
        return described


def save_bundle(
    folder: Path | str,
    spec: ModelSpec,
    vocabulary: Vocabulary,
    model: LanguageModel,
    probes: Sequence[tuple[str, int]],
    facts: Mapping[str, Any],
) -> None:
    """Write a bundle; files of the same names in the folder are replaced.

    Args:
        folder: Folder of the bundle; created if missing.
        model: The model, which writes its own files.
        probes: Texts and stars whose nats are computed here and again on every load.
        facts: JSON values to record, also `stars_prior` (see `models/streams.py`); without it all five ratings are
            equally likely.
    """
    bundle = Bundle(spec, vocabulary, model)
    scored_probes = []
    for text, stars in probes:
        nats = _finite(bundle.score_text(text, stars).nats)
        scored_probes.append(
            {
                "text": text,
                "stars": stars,
                "nats": nats,
            }
        )

    values = {
        "interface": INTERFACE,
        "kind": spec.kind,
        "spec": to_dict(spec),
        "boundary_policy": vocabulary.boundary_policy,
        "stars_prior": [float(share) for share in facts.get("stars_prior", EQUAL_STARS)],
        "probes": scored_probes,
    }
    write_model(folder, vocabulary, model, {**facts, **values})


def load_bundle(
    folder: Path | str,
    device: str = "cpu",
    check_probes: bool = True,
) -> Bundle:
    """Open a bundle.

    Args:
        folder: Folder that `save_bundle` wrote.
        device: Device of the model, "cpu" or "cuda".
        check_probes: Score the probe texts and compare.

    Raises:
        ModelError: kind "bundle": the folder is not a bundle, it is newer than this version or damaged, its vocabulary
            is not the one of the training, or the model gives other scores than when it was saved.
    """
    folder = Path(folder)
    opened, described = open_model(
        folder,
        LanguageDescription,
        KINDS,
        spec_from_dict,
        model_class,
        device,
    )
    bundle = Bundle(*opened, tuple(described.stars_prior))
    if check_probes:
        expected = [[inf if probe.nats is None else probe.nats] for probe in described.probes]
        texts = [probe.text for probe in described.probes]
        probes = [(probe.text, probe.stars) for probe in described.probes]
        compare_probes(
            folder,
            texts,
            expected,
            lambda: [[bundle.score_text(text, stars).nats] for text, stars in probes],
        )

    return bundle


def _finite(nats: float) -> float | None:
    """Return the nats of a probe, or None if the model gives it probability 0 (JSON has no infinity).

    Raises:
        ModelError: The nats are not a number, so the model has diverged.
    """
    if isnan(nats):
        raise ModelError("the model's score of a probe text is not a number", "diverged")
    return nats if isfinite(nats) else None


def unseen_warnings(
    bundle: Bundle,
    text: str = "",
    stars: int | None = None,
) -> list[str]:
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
    rating = "an unknown rating"
    if stars:
        rating = "1 star" if stars == 1 else f"{stars} stars"

    learnt = "none had a rating at all"
    if seen:
        learnt = f"it was trained on reviews of {', '.join(seen)} stars only"

    yield f"The model has never seen a review of {rating}: {learnt}. This model does not know what the rating means."


def script_warnings(vocabulary: Vocabulary, text: str) -> list[str]:
    """Return a sentence for each script of the text of which no entry of the vocabulary has a letter."""
    latin = text.isascii() and "&" not in text  # a reference such as "&#1076;" is another letter
    if latin and "LATIN" in _known_scripts(vocabulary):
        return []

    scripts = scripts_of(vocabulary.normal_form.apply(text))
    unable = "cannot read them"
    if vocabulary.lossless:
        unable = "reads them as bytes and has seen hardly any"

    return [
        f"The text has letters in {SCRIPTS[name]} script, which the model's vocabulary lacks: it {unable}."
        for name in sorted(scripts and scripts - _known_scripts(vocabulary))
    ]


@lru_cache(maxsize=4)
def _known_scripts(vocabulary: Vocabulary) -> set[str]:
    """Return the scripts of all entries; computed once, since a served model asks for every row."""
    entries = (vocabulary.entry(token) for token in range(FIRST, vocabulary.size))
    letters = (
        entry.decode("utf-8", errors="ignore") for entry in entries if not _is_placeholder(entry)
    )
    return scripts_of("".join(letters))


def scripts_of(text: str) -> set[str]:
    """Return the scripts of a text's letters, as keys of `SCRIPTS`."""
    names = set()
    for sign in set(text):
        if sign.isalpha():
            first_word = unicodedata.name(sign, "").split(" ", 1)[0]
            names.add(first_word.split("-", 1)[0])

    return names & SCRIPTS.keys()


def _is_placeholder(entry: bytes) -> bool:
    """Return whether an entry is a placeholder for personal data; its letters are no sign of the reviews' script."""
    return len(entry) > 2 and entry.startswith(b"_") and entry.endswith(b"_")
