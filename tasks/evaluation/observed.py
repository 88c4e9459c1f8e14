"""Do the works with an opened model: observe and audit it, and draw samples.

Each is a function for a `ModelWork`: it gets the bundle, a `Report` and the folder for its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.section import TEMPERATURE, TOP_P
from reviewlm.core.config.sections.evaluation import AuditConfig
from reviewlm.corpus.synthetic.canaries import Canaries
from reviewlm.evaluation.scoring.metrics import calibration_error, chance_error, reliability
from reviewlm.evaluation.scoring.observe import observe, usefulness
from reviewlm.evaluation.scoring.score import TOKEN_NATS, drawn_reviews
from reviewlm.evaluation.writing.audit import audit
from reviewlm.evaluation.writing.reference import RealText
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.streams import TokenStream
from reviewlm.tasks.evaluation.model_work import Report

TOKEN_SCORES_FILE = "token_scores.parquet"
RELIABILITY_FILE = "reliability.parquet"
SAMPLES_FILE = "samples.parquet"
SUGGESTIONS_FILE = "suggestions.parquet"
STARS = (1, 3, 5)
SAMPLES_PER_STAR = 2
PROMPTS = ("The food was", "I will never", "The staff")
SUGGESTIONS = 5
"""Beginnings for which next words are suggested, and how many words for each."""


def observe_tokens(
    bundle: Bundle,
    report: Report,
    work: Path,
    options: Mapping[str, Any],
    stream: str,
    scores: str,
) -> dict[str, Any]:
    """Observe the tokens of a sample of test reviews.

    Args:
        bundle, report, work: See the module.
        options: As in `EvaluationConfig`.
    """
    test = TokenStream.open(Path(stream))
    reviews = drawn_reviews(test, options["observed_reviews"], options["seed"])
    rows = observe(bundle, test, reviews, pl.read_parquet(Path(scores) / TOKEN_NATS))
    rows.write_parquet(work / TOKEN_SCORES_FILE)
    size = int(test.documents["bytes"].gather(reviews).sum())
    useful = usefulness(rows, size)
    facts = {
        "reviews": len(reviews),
        "tokens": len(rows),
        **useful,
        **_calibration(rows, work),
    }
    return {**facts, "entropy": float(rows["entropy"].to_numpy().mean())}


def _calibration(rows: pl.DataFrame, work: Path) -> dict[str, float]:
    """Write the reliability table; return calibration error and nats per token."""
    correct_N = (rows["rank"] == 1).fill_null(False).to_numpy()
    confidence_N = rows["confidence"].to_numpy()
    table = reliability(confidence_N, correct_N)
    table.write_parquet(work / RELIABILITY_FILE)
    return {
        "ece": calibration_error(table),
        "chance_ece": chance_error(confidence_N),
        "nll": float(rows["nats"].to_numpy().mean()),
    }


def audit_texts(
    bundle: Bundle,
    report: Report,
    work: Path,
    options: Mapping[str, Any],
    reference: str,
    planted: str,
    tokens_per_word: float,
) -> dict[str, Any]:
    """Audit what a model writes.

    Args:
        bundle, report, work: See the module.
        planted: Folder of the canaries; "": there are none.
        tokens_per_word: Tokens per word of the model's vocabulary.
    """
    canaries = None
    if planted:
        canaries = Canaries.load(Path(planted))

    config = AuditConfig.model_validate(options)
    return audit(
        bundle,
        RealText(Path(reference)),
        canaries,
        config,
        tokens_per_word,
        work,
        report,
    )


def write_texts(
    bundle: Bundle,
    report: Report,
    work: Path,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Write reviews for each star rating, and next words for the prompts; options as in `EvaluationConfig`."""
    # They import torch, which a run that re-uses all does not need.
    from reviewlm.models.completion.suggestions import next_words
    from reviewlm.models.sampling import Sampling, generate_rated

    sampling = Sampling(TEMPERATURE, top_p=TOP_P)
    counts = dict.fromkeys(STARS, SAMPLES_PER_STAR)
    texts = generate_rated(
        bundle,
        counts,
        sampling,
        options["max_tokens"],
        options["seed"],
    )
    rows = []
    for stars in counts:
        for number, text in enumerate(texts[stars]):
            rows.append(
                {
                    "stars": stars,
                    "number": number,
                    "text": text,
                    "ended": text.ended,
                    "seed": options["seed"],
                }
            )

    pl.DataFrame(rows).write_parquet(work / SAMPLES_FILE)
    words = [
        {
            "prompt": prompt,
            "word": word,
            "probability": probability,
        }
        for prompt in PROMPTS
        for word, probability in next_words(bundle, prompt, SUGGESTIONS).words
    ]
    schema = {
        "prompt": pl.String,
        "word": pl.String,
        "probability": pl.Float64,
    }
    pl.DataFrame(words, schema=schema).write_parquet(work / SUGGESTIONS_FILE)
    return {"samples": len(rows), "suggestions": len(words)}
