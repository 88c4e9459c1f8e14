"""Fit n-gram models of texts in Python, without a pipeline.

import reviewlm

lm = reviewlm.ngram.fit(["The soup was cold.", "The pizza was great!"], order=3)
lm.suggest("The pizza was")
lm.save("models/kn3")
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from reviewlm.core.errors import ConfigError, EmptyInput, converted_errors
from reviewlm.loaded_model import LoadedModel

if TYPE_CHECKING:
    from reviewlm.models.specs import NGramSpec, Smoothing
    from reviewlm.models.tokens.vocabulary import Vocabulary

__all__ = ["fit"]
Unit = Literal["word", "bpe", "unigram", "char"]


class _Reviews(NamedTuple):
    """Texts in normal form, and their star ratings (0: unknown)."""

    texts: list[str]
    stars: list[int]
    authors: list[int]
    """Number of the person who wrote each text; empty if no author is known."""


def fit(
    text: Iterable[str],
    order: int = 5,
    smoothing: Smoothing = "modified_kneser_ney",
    unit: Unit = "word",
    *,
    stars: Iterable[int | None] | None = None,
    authors: Iterable[str | None] | None = None,
    held_out: Iterable[str] | None = None,
    min_count: int = 1,
    vocabulary_size: int = 20_000,
    lowercase: bool = True,
    name: str = "ngram",
    **options: Any,
) -> LoadedModel:
    """Fit an n-gram model of texts and return it, ready for use.

    The texts are brought into the pipeline's normal form and tokenised as there. They are kept in memory; duplicates
    stay. The same texts, stars and options give the numbers of a model that the pipeline fits.

    Args:
        text: The texts: a list, a column of a table, or anything that gives texts one by one.
        order: N, the longest n-gram, 1 to 6.
        smoothing: The smoothing method, see the setting `models.NAME.smoothing`.
        unit: What a token is: "word", "bpe", "unigram" or "char".
        stars: Rating of each text, 1 to 5; None or 0: unknown. Default: unknown.
        authors: Who wrote each text, None: unknown. The option `min_documents` counts people then, not texts.
        held_out: Other texts, for methods that choose parameters on them ("add_k", "jelinek_mercer").
        min_count: Words seen less often become the unknown word.
        vocabulary_size: Maximum number of entries, special tokens included.
        lowercase: Fold case for modelling (words only); generated text has the usual case of each word.
        name: Name of the model.
        options: Further options of an n-gram model, such as `prune=(0, 0, 1)`, `entropy=1e-8`; see `models.NAME with
            kind ngram` in the reference of settings.

    Raises:
        ReviewLMError: There is no text, something else is given than texts (a table, a dictionary, one text), or an
            option is unknown or out of its range.
    """
    from reviewlm.models.specs import VocabularySpec
    from reviewlm.models.text.normal_form import NormalForm
    from reviewlm.training.vocabularies.learn import learn_vocabulary

    spec = _spec(
        {
            "order": order,
            "smoothing": smoothing,
            "name": name,
            **options,
        },
        held_out,
    )
    form = NormalForm()
    units = _made(
        VocabularySpec,
        {
            "unit": unit,
            "size": vocabulary_size,
            "min_count": min_count,
            "lowercase": lowercase,
        },
    )
    with converted_errors():
        train = _reviews(
            "text",
            text,
            stars,
            authors,
            form.apply,
        )
        other = None
        if held_out is not None:
            other = _reviews(
                "held_out",
                held_out,
                None,
                None,
                form.apply,
            )

        return _fit_counts(spec, learn_vocabulary(train.texts, units, form), train, other)


def _fit_counts(
    spec: NGramSpec,
    vocabulary: Vocabulary,
    train: _Reviews,
    held_out: _Reviews | None,
) -> LoadedModel:
    """Count and estimate, as the stage *fit* of the pipeline does."""
    import numpy as np

    from reviewlm.models.bundles.bundle import Bundle
    from reviewlm.models.ngram.lm import NGramLM
    from reviewlm.models.tokens.special import CONTEXT_IDS
    from reviewlm.training.ngram.counting.counts import count_ngrams
    from reviewlm.training.ngram.fitting import authors_to_count, fit_tables

    def encoded(reviews: _Reviews) -> Any:
        return vocabulary.encode_documents(reviews.texts, reviews.stars, whole=False)

    authors_D = None
    if train.authors:
        authors_D = np.array(train.authors, np.int32)

    counts = count_ngrams(
        encoded(train),
        spec.order,
        vocabulary.size,
        CONTEXT_IDS,
        min_documents=spec.min_documents,
        authors_D=authors_to_count(authors_D, spec.min_documents),
    )
    other = None
    if held_out:
        other = encoded(held_out)

    tables = fit_tables(counts, spec, other).tables
    shares = tuple(train.stars.count(rating) / len(train.stars) for rating in range(6))
    facts = {"documents": len(train.texts), "ngrams": [len(logp) for logp in tables.logp]}
    return LoadedModel(
        spec.name,
        None,
        Bundle(
            spec,
            vocabulary,
            NGramLM(tables),
            facts,
            stars_prior=shares,
        ),
    )


def _spec(options: dict[str, Any], held_out: object) -> NGramSpec:
    """Return the options of the model; refuse scores, and a method that needs held-out text where there is none."""
    from reviewlm.models.specs import SCORES_ONLY, NGramSpec
    from reviewlm.training.ngram.smoothing.methods import TUNED

    spec: NGramSpec = _made(NGramSpec, options)
    if spec.smoothing in SCORES_ONLY:
        raise ConfigError(
            f"{spec.smoothing} gives scores, not probabilities: there is no perplexity",
            where="smoothing",
            remedy="`reviewlm models ngram fit` fits it on lines of text, for ranking next words",
        )
    if spec.smoothing in TUNED and held_out is None:
        raise ConfigError(
            f"{spec.smoothing} chooses its parameters on held-out text",
            where="held_out",
            remedy="give held_out=TEXTS",
        )

    return spec


def _made(kind: type, options: dict[str, Any]) -> Any:
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"An option is not valid: {error}", remedy="help(reviewlm.ngram.fit)"
        ) from error


def _reviews(
    name: str,
    given: Iterable[str],
    stars: Iterable[int | None] | None,
    authors: Iterable[str | None] | None,
    normal_form: Any,
) -> _Reviews:
    """Return the texts that are not empty in normal form."""
    from reviewlm.models.text.given import given_ratings, given_texts

    texts = given_texts(given, name)
    if stars is None:
        ratings = [0] * len(texts)
    else:
        ratings = given_ratings(stars)

    if len(ratings) != len(texts):
        raise ConfigError("There must be as many stars as texts", where="stars", value=len(ratings))

    people = _person_numbers(authors)
    if people and len(people) != len(texts):
        raise ConfigError(
            "There must be as many authors as texts", where="authors", value=len(people)
        )

    clean = [normal_form(text) for text in texts]
    places = [place for place, text in enumerate(clean) if text]
    if not places:
        raise EmptyInput("There is no text to learn from", where=name)

    kept_texts = [clean[place] for place in places]
    kept_ratings = [ratings[place] for place in places]
    kept_people = [people[place] for place in places] if people else []
    return _Reviews(kept_texts, kept_ratings, kept_people)


def _person_numbers(authors: Iterable[str | None] | None) -> list[int]:
    """Return a number for each text's author; an unknown author is a person of their own. None known: no numbers."""
    if authors is None:
        return []

    from reviewlm.models.text.given import given_people

    names = given_people(authors)
    if all(name is None for name in names):
        return []

    numbers: dict[object, int] = {}
    keys = [(place,) if name is None else name for place, name in enumerate(names)]
    return [numbers.setdefault(key, len(numbers)) for key in keys]
