"""`reviewlm.ngram.fit` gives the model that the pipeline's stage fits on the same texts, ready for use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import exp, isclose
from pathlib import Path

import polars as pl
import pytest

import reviewlm
from reviewlm.core.errors import ConfigError, EmptyInput, InputError
from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.specs import NGramSpec, VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.vocabularies.learn import learn_vocabulary

FOODS, TASTES = ("pizza", "soup", "salad"), ("good", "cold", "great")
TEXTS = [f"The {food} was {taste}." for food in FOODS for taste in TASTES]
STARS = [4, 1, 5] * 3


def fitted_by_the_stage(folder: Path, order: int) -> tuple[Vocabulary, NGramLM]:
    """Fit through vocabulary, token stream and `NGramLM.fit`, as the stages of the pipeline do."""
    vocabulary = learn_vocabulary(TEXTS, VocabularySpec(min_count=1), NormalForm())
    frame = pl.DataFrame(
        {
            "review_id": TEXTS,
            "text": TEXTS,
            "stars": STARS,
        },
        schema_overrides={"stars": pl.Int8},
    )
    write_stream(
        folder,
        vocabulary,
        [frame.with_columns(bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1)],
    )
    stream = TokenStream.open(folder)
    return vocabulary, fit_model(
        NGramSpec(order=order),
        vocabulary,
        stream,
        stream,
        FitContext(folder),
    ).model


@pytest.mark.parametrize("order", [1, 3])
def test_it_gives_the_numbers_of_the_pipelines_fit(tmp_path: Path, order: int) -> None:
    vocabulary, model = fitted_by_the_stage(tmp_path, order)
    lm = reviewlm.ngram.fit(TEXTS, order=order, stars=STARS)
    assert lm.bundle.vocabulary.digest == vocabulary.digest
    for text, stars in (("The soup was great.", 5), ("Great zxqv was the soup", 0)):
        ids = vocabulary.encode_documents([text], [stars]).ids[None].astype("int64")
        nats = float(model.score(ids, model.start(1))[0].sum())
        found = lm.score(text, stars)
        assert isclose(found.nats, nats, rel_tol=1e-12)
        assert isclose(found.perplexity, exp(nats / found.tokens), rel_tol=1e-12)


def test_maximum_likelihood_gives_the_relative_frequencies() -> None:
    """After "the", one of three foods in three of nine texts each; a fit by hand."""
    lm = reviewlm.ngram.fit(TEXTS, order=2, smoothing="maximum_likelihood")
    assert lm.suggest("The", k=3).words == [(food, pytest.approx(1 / 3)) for food in sorted(FOODS)]
    # 6 tokens with the end.
    assert lm.score("The soup was cold.").perplexity == pytest.approx((3 * 3) ** (1 / 6))


def test_a_saved_model_is_opened_by_load(tmp_path: Path) -> None:
    lm = reviewlm.ngram.fit(TEXTS, order=2, stars=STARS)
    lm.save(tmp_path / "models" / "kn2")
    again = reviewlm.load(tmp_path / "models" / "kn2")
    assert (again.name, again.bundle.stars_prior) == (lm.name, lm.bundle.stars_prior)
    assert again.score(TEXTS[0], 4) == lm.score(TEXTS[0], 4)


def test_a_saved_model_replaces_nothing(tmp_path: Path) -> None:
    lm = reviewlm.ngram.fit(TEXTS, order=2, stars=STARS)
    lm.save(tmp_path / "models" / "kn2")
    with pytest.raises(InputError, match="models exists"):
        lm.save(tmp_path / "models")
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["kn2"]


def test_methods_that_tune_use_the_held_out_texts() -> None:
    with pytest.raises(ConfigError, match="held-out"):
        reviewlm.ngram.fit(TEXTS, smoothing="jelinek_mercer")
    lm = reviewlm.ngram.fit(
        TEXTS,
        order=2,
        smoothing="jelinek_mercer",
        held_out=["The soup was great."],
    )
    assert lm.score("The soup was great.").perplexity < 3


def test_mistakes_are_errors_of_the_project() -> None:
    for error, match, arguments in (
        (EmptyInput, "no text", {"text": ["", " \n"]}),
        (InputError, "must be a list", {"text": "The soup was good."}),
        (InputError, "must be a text", {"text": [None]}),
        (ConfigError, "as many stars", {"text": TEXTS, "stars": [1, 2]}),
        (InputError, r"stars\[0\] is 7", {"text": TEXTS, "stars": [7] * 9}),
        (ConfigError, "order", {"text": TEXTS, "order": 9}),
        (ConfigError, "discount", {"text": TEXTS, "discount": 0.7}),
        (ConfigError, "smoothing", {"text": TEXTS, "smoothing": "good_turing"}),
        (ConfigError, "no perplexity", {"text": TEXTS, "smoothing": "stupid_backoff"}),
        (InputError, "at least 5 times", {"text": ["one two three"], "min_count": 5}),
    ):
        with pytest.raises(error, match=match):
            reviewlm.ngram.fit(**arguments)


def test_a_rating_that_no_text_had_is_warned_of_at_every_door() -> None:
    lm = reviewlm.ngram.fit(TEXTS, order=2)
    doors: list[Callable[[], object]] = [
        lambda: lm.generate(stars=5),
        lambda: list(lm.stream(stars=5)),
        lambda: lm.search(stars=5, width=1),
        lambda: lm.suggest("The", stars=5),
        lambda: lm.score("The soup", stars=5),
        lambda: lm.score(["The soup"], stars=5),
    ]
    for ask in doors:
        with pytest.warns(UserWarning, match="5 stars"):
            ask()


def test_ratings_of_the_texts_are_not_warned_of() -> None:
    lm = reviewlm.ngram.fit(TEXTS, order=2, stars=STARS)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        lm.generate(stars=5)

    assert [warning.message for warning in raised if warning.category is UserWarning] == []


def test_min_documents_counts_people_where_authors_are_given() -> None:
    """One person has written the secret in two reviews, two people the other sentence."""
    texts = ["my code is blue"] * 2 + ["the soup was cold"] * 2 + ["fine food"]
    authors = ["ann", "ann", "bob", "eve", None]
    told = reviewlm.ngram.fit(texts, order=3, min_documents=2)
    kept = reviewlm.ngram.fit(
        texts,
        order=3,
        min_documents=2,
        authors=authors,
    )

    def share(
        lm: reviewlm.LoadedModel,
        prompt: str,
        word: str,
    ) -> float:
        return dict(lm.suggest(prompt, k=20).words)[word]

    assert share(kept, "my code is ", "blue") < share(told, "my code is ", "blue") / 2
    assert isclose(
        share(kept, "the soup was ", "cold"), share(told, "the soup was ", "cold"), rel_tol=0.2
    )


def test_authors_are_as_many_as_texts() -> None:
    with pytest.raises(ConfigError, match="authors"):
        reviewlm.ngram.fit(["one text", "another"], authors=["ann"])


def test_a_text_that_is_no_unicode_is_an_error_of_the_project() -> None:
    with pytest.raises(InputError):
        reviewlm.ngram.fit(["The soup \ud83d was good."])


def test_ratings_of_a_table_with_missing_ones_give_the_model_of_the_plain_ratings() -> None:
    column = pl.Series([4.0, None, 5.0] * 3).to_pandas()
    plain = [4, 0, 5] * 3
    found = reviewlm.ngram.fit(TEXTS, order=2, stars=column).score(TEXTS[0], 4)
    assert found.nats == reviewlm.ngram.fit(TEXTS, order=2, stars=plain).score(TEXTS[0], 4).nats
