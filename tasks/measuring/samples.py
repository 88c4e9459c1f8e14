"""Draw samples from an opened model, and its next-word suggestions.

Write what the demo shows of a model: a review of some ratings, and next words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from core.config.generation import TEMPERATURE, TOP_P
from models.bundles.bundle import Bundle
from tasks.measuring.fork_server import Report

SAMPLES_FILE, SUGGESTIONS_FILE = "samples.parquet", "suggestions.parquet"

STARS, SAMPLES_PER_STAR = (1, 3, 5), 2
PROMPTS, SUGGESTIONS = ("The food was", "I will never", "The staff"), 5
"""Beginnings for which next words are suggested, and how many words for each."""


def drawn(bundle: Bundle, report: Report, work: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write reviews for each star rating, and next words for the prompts; options as in `EvaluationConfig`."""
    from models.completion.suggestions import next_words  # imports torch, which a run that re-uses all does not need
    from models.sampling import Sampling, generate_rated

    sampling = Sampling(TEMPERATURE, top_p=TOP_P)
    counts = dict.fromkeys(STARS, SAMPLES_PER_STAR)
    texts = generate_rated(bundle, counts, sampling, options["max_tokens"], options["seed"])
    rows = [
        {"stars": stars, "number": number, "text": text, "seed": options["seed"]}
        for stars in counts for number, text in enumerate(texts[stars])
    ]  # fmt: skip
    pl.DataFrame(rows).write_parquet(work / SAMPLES_FILE)
    words = [
        {"prompt": prompt, "word": word, "probability": probability}
        for prompt in PROMPTS
        for word, probability in next_words(bundle, prompt, SUGGESTIONS).words
    ]
    schema = {"prompt": pl.String, "word": pl.String, "probability": pl.Float64}
    pl.DataFrame(words, schema=schema).write_parquet(work / SUGGESTIONS_FILE)
    return {"samples": len(rows), "suggestions": len(words)}


def shown(bundle: Bundle, report: Report, folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a text for each rating of `STARS`, and next words after the first prompt of `EvaluationConfig`."""
    from models.completion.suggestions import next_words
    from models.sampling import generate

    drawn: dict[str, Any] = {"temperature": TEMPERATURE, "top_p": TOP_P, **options}
    texts = [generate(bundle, 1, stars, **drawn)[0] for stars in STARS]
    suggested = next_words(bundle, PROMPTS[0], SUGGESTIONS)
    return {"texts": texts, "suggestions": {"words": suggested.words, "rest": suggested.rest, "typed": suggested.typed}}
