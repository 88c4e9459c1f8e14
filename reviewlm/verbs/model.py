"""Define the commands that use a registered model: generate, suggest, score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviewlm import terminal
from reviewlm.options import Json, Model, Preset, Set, Stars, Temperature, TopP, checked, configured, opened

if TYPE_CHECKING:
    from models.bundles.bundle import Bundle, TextScore
    from tracking.registry.versions import Version

app = typer.Typer()


@app.command()
def generate(
    stars: Stars = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Reviews to write.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random draw.")] = 1,
    prompt: Annotated[str, typer.Option("--prompt", help="Beginning of the review, which is kept unchanged.")] = "",
    temperature: Temperature = 0.8,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Number of likeliest words to sample from; 0: all.")] = 0,
    top_p: TopP = 0.95,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest review, in tokens.")] = 300,
    min_p: Annotated[float, typer.Option(
        "--min-p", min=0, max=1, help="Use only words at least this share as likely as the likeliest; 0: all.",
    )] = 0.0,
    typical_p: Annotated[float, typer.Option(
        "--typical-p", min=0, max=1,
        help="Use only the words whose surprise is nearest to the expected one, up to this total probability; 1: all.",
    )] = 1.0,
    repetition_penalty: Annotated[float, typer.Option(
        "--repetition-penalty", min=0, help="Above 1, words that the text already has become less likely.",
    )] = 1.0,
    no_repeat_ngram_size: Annotated[int, typer.Option(
        "--no-repeat-ngram-size", min=0, help="No sequence of this many tokens occurs twice; 0: no limit.",
    )] = 0,
    stop: Annotated[list[str] | None, typer.Option(
        "--stop", metavar="TEXT", help="End a review before this text. May be repeated.",
    )] = None,
    model: Model = "champion", preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Write reviews with the registered champion."""
    bundle, version = opened(configured(preset, set), model)
    from models.bundles.unseen import unseen_warnings
    from models.sampling import generate as sample

    texts = checked(lambda: sample(
        bundle, n, stars, prompt, temperature, top_k, top_p, max_tokens, seed, min_p, typical_p, repetition_penalty,
        no_repeat_ngram_size, stop or (),
    ))
    terminal.show_warnings(warnings := unseen_warnings(bundle, prompt, stars))
    for text in texts:
        terminal.show_review(stars, text)
    terminal.last_line({**_which(version), "texts": texts, "warnings": warnings}, json)


@app.command()
def suggest(
    prompt: Annotated[str, typer.Argument(help="The text so far.")],
    k: Annotated[int, typer.Option("--k", min=1, help="Words to suggest.")] = 5,
    stars: Stars = None,
    model: Model = "champion", preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Suggest the next whole words, with their probabilities."""
    bundle, version = opened(configured(preset, set), model)
    from models.bundles.unseen import unseen_warnings
    from models.sampling import suggest as next_words

    found = checked(lambda: next_words(bundle, prompt, k, stars))
    terminal.show_warnings(warnings := unseen_warnings(bundle, prompt, stars))
    terminal.show_suggestions(prompt, found)
    words = [{"word": word, "probability": probability} for word, probability in found.words]
    read = {"ratings": _ratings(bundle, stars), "warnings": warnings}
    terminal.last_line({**_which(version), "words": words, "rest": found.rest, **read}, json)


@app.command()
def score(
    file: Annotated[str, typer.Argument(help="File with one text per line; '-' reads standard input.")],
    stars: Stars = None,
    model: Model = "champion", preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Score texts with the champion, in open bits per byte; each text starts from the fresh state."""
    texts = terminal.read_texts(file)
    bundle, version = opened(configured(preset, set), model)
    result = checked(lambda: _sum_of_scores([bundle.score_text(text, stars) for text in texts]))
    from models.bundles.unseen import unseen_warnings

    terminal.show_warnings(warnings := unseen_warnings(bundle, "\n".join(texts), stars))
    _show_scores(result)
    terminal.last_line({**_which(version), **result, "ratings": _ratings(bundle, stars), "warnings": warnings}, json)


def _ratings(bundle: Bundle, stars: int | None) -> list[int]:
    """Return the ratings with which the model read the text, and say so if there are several."""
    ratings, _ = bundle.ratings(stars)
    if len(ratings) > 1:
        seen = ", ".join(map(str, ratings))
        terminal.say(f"Averaged over the ratings of the training reviews ({seen} stars), because --stars gives none.")
    return ratings


def _which(version: Version) -> dict[str, Any]:
    """Return name and version of the model that answered."""
    return {"model": version.name, "version": version.version}


def _sum_of_scores(scores: Sequence[TextScore]) -> dict[str, Any]:
    """Return the totals over texts: perplexity per token and bits per byte of UTF-8, with the ends of texts included.

    Compare by the first figure: in `bits_per_byte` and `perplexity`, out-of-vocabulary words cost almost nothing.
    """
    nats, tokens = sum(score.nats for score in scores), sum(score.tokens for score in scores)
    size = sum(score.bytes for score in scores)
    spelling, oov = sum(score.spelling_nats for score in scores), sum(score.oov for score in scores)
    return {
        "open_bits_per_byte": (nats + spelling) / size / log(2), "bits_per_byte": nats / size / log(2), "oov": oov,
        "texts": len(scores), "tokens": tokens, "bytes": size, "nats": nats, "spelling_nats": spelling,
        "perplexity": exp(nats / tokens),
        "scores": [
            {"open_bits_per_byte": score.open_bits_per_byte, "bits_per_byte": score.bits_per_byte, "oov": score.oov,
             "nats": score.nats, "spelling_nats": score.spelling_nats, "tokens": score.tokens, "bytes": score.bytes,
             "per_token": score.per_token}
            for score in scores
        ],
    }


def _show_scores(result: Mapping[str, Any]) -> None:
    """Write the totals of scored texts, and explain what the closed figure leaves out."""
    terminal.show_facts(result)
    if result["oov"]:
        words = "unknown word" if result["oov"] == 1 else f"{result['oov']:,} unknown words"
        terminal.say(f"bits_per_byte counts the {words} as <unk>, which costs almost nothing. open_bits_per_byte "
                     "includes the cost of spelling: compare texts and models by it.")
    if result["spelling_nats"]:
        terminal.say("spelling_nats: the cost of what the tokens leave out (letters of unknown words, case, spaces).")
