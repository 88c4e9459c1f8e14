"""Define the command that finds the reviews nearest to a text: by its words (query likelihood), or by a network."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reviewlm import terminal
from reviewlm.core.errors import ConfigError
from reviewlm.loaded_model import LoadedModel
from reviewlm.loading import open_model, prepared_of
from reviewlm.options import Json, Preset, Set, VersionInput, configure, is_given, run_checked

if TYPE_CHECKING:
    import polars as pl

    from reviewlm.core.config.sections.data import CleanConfig, SourceConfig
    from reviewlm.evaluation.text_vectors import Similarity

SHOWN = 200
"""Most characters of a passage."""
PASSAGES = re.compile(r"(?<=[.!?])\s+|\n+")
"""What is between two passages of a review: sentences and lines."""


CompareBy = Literal["words", "model"]


def nearest(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="Text whose nearest reviews are shown.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Number of reviews to show.")] = 5,
    by: Annotated[
        CompareBy,
        typer.Option(
            "--by",
            help="Compare texts by words (query likelihood), or by model (vectors of its network).",
        ),
    ] = "words",
    input: VersionInput = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="Alias, number or name of a version; or the folder of a fitted model, with a slash.",
        ),
    ] = "champion",
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Find the reviews nearest to a text, each with the passage that is nearest to it.

    Without --input, the test reviews of the model's run are searched.

    \b
    Examples:
      reviewlm models nearest "the tacos were cold"
      reviewlm models nearest "rude waiter" --input reviews.json --n 10
    """
    if not text.strip():
        raise ConfigError(
            "There is no text", where="nearest", remedy='nearest "the tacos were cold"'
        )

    unused = bool(input) and by == "words"  # then no model is needed
    if unused and is_given(context, "model"):
        what = "--model has no effect with --input, unless --by model"
        raise ConfigError(what, where="--model", remedy="leave it out")

    config = configure(preset, set, create=False)
    opened = None
    if not unused:
        opened = open_model(config.workspace, config.promotion.model_name, model)

    compare = None
    if by == "model" and opened is not None:
        from reviewlm.evaluation.text_vectors import model_cosine
        from reviewlm.models.neural.encoder import Encoder

        # A model without a network is refused before any file is read.
        encoder = run_checked(lambda: Encoder(opened.bundle))
        compare = model_cosine(encoder)

    reviews, data = _reviews_to_search(
        config.home,
        config.source,
        config.clean,
        opened,
        input,
    )
    which = {"model": opened and opened.name, "version": opened and opened.version}
    about = {
        **which,
        "data": data,
        "reviews": len(reviews),
    }
    result = {
        "by": by,
        **_nearest(
            config.clean,
            reviews,
            compare,
            text,
            n,
        ),
    }
    _show_reviews(result, about)
    terminal.last_line({**about, **result}, json)


def _reviews_to_search(
    home: Path,
    source: SourceConfig,
    clean: CleanConfig,
    model: LoadedModel | None,
    input: Sequence[str] | None,
) -> tuple[pl.DataFrame, str]:
    """Return the reviews to search, and a description of them."""
    from reviewlm.tasks.embed import prepared_reviews, reviews_of_files

    if input:
        return reviews_of_files(source, clean, input), ", ".join(input)
    assert model is not None, "opened without --input"
    reviews = prepared_reviews(prepared_of(home, model.bundle), ("test",))
    return reviews, f"the test reviews of '{model.bundle.spec.name}'"


def _nearest(
    clean: CleanConfig,
    reviews: pl.DataFrame,
    compare: Similarity | None,
    text: str,
    n: int,
) -> dict[str, Any]:
    """Return the nearest reviews, and apart from them those that have the text itself."""
    import numpy as np

    from reviewlm.evaluation.text_vectors import query_likelihood
    from reviewlm.models.text.normal_form import NormalForm

    texts = reviews["text"].to_list()
    query = NormalForm(**clean.model_dump()).apply(text)
    similarity = compare or query_likelihood(texts)
    scores_N = similarity(query, texts)
    same_N = (reviews["text"] == query).to_numpy()
    order = [int(row) for row in np.argsort(-scores_N, kind="stable") if not same_N[row]][:n]
    near = [row for row in order if compare or scores_N[row] > 0]
    same = np.flatnonzero(same_N)

    def passage(row: int) -> str:
        passages = [part for part in PASSAGES.split(texts[row]) if part.strip()] or [texts[row]]
        return textwrap.shorten(
            passages[int(similarity(query, passages).argmax())], SHOWN, placeholder=" …"
        )

    found = []
    for row, review in zip(near, _plain(reviews[near]), strict=True):
        score = round(float(scores_N[row]), 6)
        found.append(
            {
                "score": score,
                "passage": passage(row),
                **review,
            }
        )

    typical = round(float(np.median(scores_N)), 6)
    return {
        "text": text,
        "typical_score": typical,
        "same_texts": len(same),
        "same_text": _plain(reviews[same[:n]]),
        "nearest": found,
    }


def _plain(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return reviews as JSON values, without their users."""
    names = ("review_id", "stars", "business_id", "text")
    reviews = []
    for row in rows.to_dicts():
        reviews.append({name: row[name] or None for name in names})

    return reviews


def _show_reviews(result: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    scale = "nats per word of the text" if result["by"] == "words" else "cosine"
    terminal.say(
        f"Nearest of {about['reviews']:,} reviews ({about['data']}), {scale}; half of them are below "
        f"{result['typical_score']:.2f}."
    )
    for review in result["same_text"]:
        terminal.say(f"\nThe text itself: review {review['review_id']}{_stars(review)}")

    more = result["same_texts"] - len(result["same_text"])
    if more > 0:
        terminal.say(f"and {more:,} more with the text itself")

    for review in result["nearest"]:
        terminal.say(
            f"\n{review['score']:.3f}{_stars(review)}  {review['review_id']}\n  {review['passage']}"
        )

    if not result["nearest"]:
        terminal.say("No other review makes the text likelier.")


def _stars(review: Mapping[str, Any]) -> str:
    return f"  {review['stars']:g} stars" if review["stars"] else ""
