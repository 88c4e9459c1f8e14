"""Define the command that finds the reviews nearest to a text by a network's vectors; `--measure` compares tf-idf."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ArtifactError, ConfigError
from reviewlm import terminal
from reviewlm.fitted import open_folder, prepared_of
from reviewlm.options import Json, Model, Preset, Set, VersionInput, checked, configured, is_given, opened
from reviewlm.shown.results import with_interval
from reviewlm.verbs.other_models.neighbours import vectors_at

if TYPE_CHECKING:
    import polars as pl

    from core.config.run_config import RunConfig
    from models.bundles.bundle import Bundle
    from tasks.embedding.encode import EncodedReviews

app = typer.Typer()
SHOWN = 200
"""Characters of a review that the terminal shows."""
MOST_MEASURED = 20_000
"""Reviews that --measure compares, of whole businesses; each is compared with all others."""
NETWORK, TFIDF, WORDS = "language model", "tf-idf", "mean word vector"


class Split(StrEnum):
    """Reviews of a prepared data set."""

    TEST = "test"
    VALIDATION = "validation"
    TRAIN = "train"
    ALL = "all"


@app.command()
def nearest(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="Text to which the nearest reviews are shown.")] = "",
    n: Annotated[int, typer.Option("--n", min=1, help="Number of reviews to show.")] = 5,
    input: VersionInput = None,
    split: Annotated[Split, typer.Option("--split", help="Which reviews of the model's run to search.")] = Split.TEST,
    measure: Annotated[bool, typer.Option(
        "--measure", help="Measure how often the nearest review is of the same business, against tf-idf and chance.",
    )] = False,
    vectors: Annotated[str, typer.Option(
        "--vectors", metavar="PATH|VERSION", help="With --measure: word vectors to compare with, as in `neighbours`.",
    )] = "",
    model: Model = "champion",
    bundle: Annotated[str, typer.Option("--bundle", help="Folder of a fitted model, in place of --model.")] = "",
    preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:  # fmt: skip
    """Find the reviews nearest to a text, by the cosine of the language model's vectors.

    The model must be a network, or a mixture with one. Without --input, the test reviews of its own run are searched.
    Reviews are encoded once; the store keeps their vectors.
    """
    if bool(text.strip()) == measure:
        raise ConfigError("Give either a text or --measure", where="nearest",
                          remedy='nearest "the tacos were cold", or nearest --measure')  # fmt: skip
    for option, beside, idle in (
        ("split", "with --input", input),
        ("n", "with --measure", measure),
        ("vectors", "without --measure", not measure),
        ("model", "with --bundle", bundle),
    ):
        if idle and is_given(context, option):
            raise ConfigError(f"--{option} has no effect {beside}", where=f"--{option}", remedy="leave it out")
    config = configured(preset, set)
    if vectors:
        vectors_at(vectors, lambda: config)  # a wrong name is an error before the reviews are encoded
    opened_model, which = _opened(config, model, bundle)
    reviews, data = _encoded(config, opened_model, input, split)
    about = {**which, "data": data, "reviews": len(reviews), "vectors": str(reviews.artifact.folder)}
    found = _measured(config, reviews, vectors) if measure else _nearest(opened_model, reviews, text, n)
    (_show_rates if measure else _show_reviews)(found, about)
    terminal.last_line({**about, **found}, json)


def _opened(config: RunConfig, model: str, folder: str) -> tuple[Bundle, dict[str, Any]]:
    """Return the bundle, and what names it in JSON."""
    if folder:
        bundle = open_folder(Path(folder))
        return bundle, {"model": bundle.spec.name, "version": None}
    bundle, version = opened(config, model)
    return bundle, {"model": version.name, "version": version.version}


def _encoded(
    config: RunConfig, bundle: Bundle, input: Sequence[str] | None, split: Split
) -> tuple[EncodedReviews, str]:
    """Return the reviews to search with their vectors, and a description of them."""
    from models.neural.encoder import Encoder
    from tasks.embedding.encode import SPLITS, encode_files, encode_prepared

    checked(lambda: Encoder(bundle))  # refused before any file is read
    if input:
        return encode_files(config, bundle, input), ", ".join(input)
    wanted, clean = SPLITS if split is Split.ALL else (split.value,), prepared_of(config, bundle)
    name = "reviews" if split is Split.ALL else f"{split.value} reviews"
    return encode_prepared(config, bundle, clean, wanted), f"the {name} of '{bundle.spec.name}'"


def _nearest(bundle: Bundle, reviews: EncodedReviews, text: str, n: int) -> dict[str, Any]:
    """Return the nearest reviews, and apart from them those that have the text itself."""
    import numpy as np

    from models.bundles.unseen import unseen_warnings
    from models.neural.encoder import Encoder
    from models.vectors.nearest import cosines, nearest_rows

    query_F = checked(lambda: Encoder(bundle).encode([text]))[0]
    cosines_N = checked(lambda: cosines(query_F, reviews.vectors_NF))
    same = reviews.same_text(bundle.vocabulary.normal_form.apply(text), cosines_N)
    near = nearest_rows(cosines_N, n, same.tolist())
    terminal.show_warnings(warnings := unseen_warnings(bundle, text, 0))
    return {
        "text": text, "typical_cosine": round(float(np.median(cosines_N)), 6),
        "same_texts": len(same), "same_text": _plain(reviews.rows(same[:n])),
        "nearest": [{"cosine": round(float(cosines_N[row]), 6), **review}
                    for row, review in zip(near, _plain(reviews.rows(near)), strict=True)],
        "warnings": warnings,
    }  # fmt: skip


def _plain(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return reviews as JSON values, without their users."""
    names = ("review_id", "stars", "business_id", "text")
    return [{name: row[name] or None for name in names} for row in rows.to_dicts()]


def _show_reviews(found: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    terminal.say(f"Nearest of {about['reviews']:,} reviews ({about['data']}) by cosine; half of them are below "
                 f"{found['typical_cosine']:.2f}.")  # fmt: skip
    for review in found["same_text"]:
        terminal.say(f"\nThe text itself: review {review['review_id']}{_stars(review)}")
    if (more := found["same_texts"] - len(found["same_text"])) > 0:
        terminal.say(f"and {more:,} more with the text itself")
    for review in found["nearest"]:
        terminal.say(f"\n{review['cosine']:.3f}{_stars(review)}  {review['review_id']}")
        terminal.say("  " + textwrap.shorten(review["text"] or "", SHOWN, placeholder=" …"))


def _stars(review: Mapping[str, Any]) -> str:
    return f"  {review['stars']:g} stars" if review["stars"] else ""


def _measured(config: RunConfig, reviews: EncodedReviews, vectors: str) -> dict[str, Any]:
    """Return how often the nearest review is of the same business and has the same stars, by way of comparing."""
    from evaluation.vectors.baselines import dense_cosines, tfidf_cosines, word_vector_cosines
    from evaluation.vectors.same_topic import same_topic_rates, whole_businesses
    from tasks.fitting.job import BUNDLE_FOLDER

    drawn = whole_businesses(reviews.column("business_id"), MOST_MEASURED, config.seed)
    chosen, words, ways = reviews.rows(drawn), None, {NETWORK: dense_cosines(reviews.vectors_NF[drawn])}
    texts = chosen["text"].to_list()
    ways[TFIDF] = checked(lambda: tfidf_cosines(texts))
    try:
        words = place = vectors_at(vectors, lambda: config)
        stored = place.parent if place.name == BUNDLE_FOLDER else place
        ways[f"{WORDS} ({Path(vectors).name or stored.name})"] = checked(lambda: word_vector_cosines(texts, place))
    except ArtifactError as error:
        terminal.show_warnings([f"comparison without word vectors: {error.what}; {error.remedy.partition(';')[0]}."])
    rates = same_topic_rates(chosen, ways, NETWORK, seed=config.seed)
    return {"compared": len(drawn), "word_vectors": words and str(words), "rates": rates}


def _show_rates(found: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    rows = [
        {"vectors": row["vectors"], "same business": with_interval(row, "business_id"),
         "minus language model": with_interval(row, "business_id_gain"), "same stars": with_interval(row, "stars"),
         "stars minus language model": with_interval(row, "stars_gain")}
        for row in found["rates"]
    ]  # fmt: skip
    queries = found["rates"][0]["queries"]
    reviews = f"{found['compared']:,} of {about['reviews']:,} reviews"
    terminal.show_rows(rows, f"Nearest by other users, of {reviews} ({about['data']}); {queries:,} queries; "
                       "± is half of a 95 % interval over businesses")  # fmt: skip
