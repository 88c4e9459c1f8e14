"""Audit a model: let it write reviews, search them for copied text and personal data, and rank planted canaries.

The samples are compared with the training text and with real reviews (`evaluation/writing/reference.py`), which are the
same for all models of a data set; samples and real reviews are cut at the same number of words. No figure uses a
model's own tokens, so figures of models with different vocabularies can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from reviewlm.core.config.sections.evaluation import AuditConfig
from reviewlm.corpus.synthetic.canaries import Canaries
from reviewlm.evaluation.writing.exposure import measure_exposure
from reviewlm.evaluation.writing.novelty import (
    ORDERS,
    PASSAGE,
    copied_passages,
    copied_spans,
    overlap,
)
from reviewlm.evaluation.writing.reference import RealText
from reviewlm.evaluation.writing.word_stream import (
    WordStream,
    pieces_of,
    word_stream,
)
from reviewlm.models.text.normal_form import MASKS
from reviewlm.models.threads import return_freed

if TYPE_CHECKING:
    from reviewlm.models.bundles.bundle import Bundle

MARGIN = 1.2
"""Samples of sub-word tokens are this many times longer than needed, because the number of tokens per word varies."""
SAMPLES_FILE = "samples.parquet"
COPIED_FILE = "copied.parquet"
EXPOSURE_FILE = "exposure.parquet"
NOVELTY_FILE = "novelty.parquet"
PRIVATE_FILE = "private.parquet"
TABLES = (COPIED_FILE, EXPOSURE_FILE, NOVELTY_FILE, PRIVATE_FILE)
PATTERNS = {step.name: step for step in MASKS}
Report = Callable[[int], None]


def audit(
    bundle: Bundle,
    reference: RealText,
    canaries: Canaries | None,
    config: AuditConfig,
    tokens_per_word: float,
    folder: Path,
    report: Report = lambda done: None,
) -> dict[str, Any]:
    """Audit one model and write tables to *folder*.

    Args:
        reference: Reference of the data that it was trained on.
        canaries: Canaries planted in the data; None if there are none.
        config: Sizes of the samples.
        tokens_per_word: Tokens per word of the model's vocabulary, on the training text.
        folder: Output folder of samples, copied, exposure, novelty and private (.parquet).
        report: Called with the number of samples written.

    Returns:
        Facts, None if one does not apply. See docs/concepts/evaluation/memorisation.md; `real_…` is the same fact of
        held-out reviews.
    """
    samples = draw_samples(bundle, config, tokens_per_word, report)
    samples.write_parquet(folder / SAMPLES_FILE)
    texts = word_stream(samples["text"]).cut_at(config.max_words)
    facts = _novelty(
        samples,
        texts,
        reference,
        config.max_words,
        folder,
    )
    return_freed()  # each of these leaves gaps that the next one does not fit
    facts |= _passages(texts, facts["copied_8"], reference, config.max_words)
    return_freed()
    facts |= _private(samples, reference, folder)
    return_freed()
    table, exposed = measure_exposure(
        bundle,
        canaries,
        config.candidates,
        samples["text"],
        folder / "scored",
    )
    table.write_parquet(folder / EXPOSURE_FILE)
    return facts | exposed


def draw_samples(
    bundle: Bundle,
    config: AuditConfig,
    tokens_per_word: float,
    report: Report = lambda done: None,
) -> pl.DataFrame:
    """Generate samples with the model: columns stars, number, text, seed, in a random order.

    The stars have the shares of the training reviews. Text *number* of a rating is the one that
    `reviewlm.models.sampling.generate` writes under that number.
    """
    # A word vocabulary has one token per word.
    margin = MARGIN if bundle.vocabulary.lossless else 1.0
    most = math.ceil(config.max_words * max(tokens_per_word, 1.0) * margin)
    counts = dict(enumerate(shared_out(config.samples, bundle.stars_prior)))
    from reviewlm.models.sampling import Sampling, generate_rated  # imports torch
    from reviewlm.models.sampling.generation import BATCH

    def after_text(done: int) -> None:
        if done % BATCH == 0 or done == config.samples:
            # Distributions of fewer and fewer texts leave gaps that those of the next batch do not fit.
            return_freed()

        report(done)

    # Samples of the unchanged model: only these can be compared with real reviews.
    sampling = Sampling()
    texts = generate_rated(
        bundle,
        counts,
        sampling,
        most,
        config.seed,
        after_text,
    )
    rows = [
        {
            "stars": stars,
            "number": number,
            "text": text,
            "seed": config.seed,
        }
        for stars in counts
        for number, text in enumerate(texts[stars])
    ]
    schema = {
        "stars": pl.Int64,
        "number": pl.Int64,
        "text": pl.String,
        "seed": pl.Int64,
    }
    order = np.random.default_rng(config.seed).permutation(len(rows))
    return pl.DataFrame(rows, schema=schema)[order]


def shared_out(count: int, shares: Sequence[float]) -> list[int]:
    """Return whole numbers in proportion to *shares* that add up to *count* (largest remainders)."""
    exact = np.asarray(shares, np.float64) / sum(shares) * count
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact, kind="stable")[: count - whole.sum()]] += 1
    return [int(number) for number in whole]


def _novelty(
    samples: pl.DataFrame,
    texts: WordStream,
    reference: RealText,
    most_words: int,
    folder: Path,
) -> dict[str, Any]:
    copies = overlap(texts, reference.training)
    pieces = pieces_of(samples["text"]).list.head(most_words)
    spans = copied_spans(
        samples.select("stars", "number", pieces=pieces), copies, reference.training.offsets
    )
    ids = reference.review_ids.gather(spans["review"])
    spans.with_columns(review_id=ids).drop("review").write_parquet(folder / COPIED_FILE)

    curve = {
        "n": range(1, ORDERS + 1),
        "samples": copies.curve(),
        "real": reference.real_curve,
    }
    pl.DataFrame(
        curve,
        schema={
            "n": pl.Int64,
            "samples": pl.Float64,
            "real": pl.Float64,
        },
    ).write_parquet(folder / NOVELTY_FILE)

    real_longest = reference.real["longest"].head(samples.height).max()
    facts: dict[str, Any] = {"samples": samples.height, "words": len(texts.words_N)}
    facts |= {f"copied_{n}": copies.share(n) for n in (4, 8)}
    facts |= {f"real_copied_{n}": reference.real_curve[n - 1] for n in (4, 8)}
    facts["longest_copied"] = int(copies.longest_D.max())
    facts["real_longest_copied"] = int(real_longest or 0)  # type: ignore[arg-type]
    return facts


def _passages(
    texts: WordStream,
    copied: float | None,
    reference: RealText,
    most_words: int,
) -> dict[str, float | None]:
    """Return the share of passages that occur in the training text: 8 words, or whole texts that are shorter."""
    passages: dict[str, float | None] = {}
    real = word_stream(reference.real["text"]).cut_at(most_words)
    for name, stream, share in (
        ("", texts, copied),
        ("real_", real, reference.real_curve[PASSAGE - 1]),
    ):
        grams = int(np.maximum(stream.lengths_D - PASSAGE + 1, 0).sum())
        passages[f"{name}copied_passages"] = copied_passages(
            stream, (share or 0.0) * grams, reference.training
        )

    return passages


def _private(
    samples: pl.DataFrame,
    reference: RealText,
    folder: Path,
) -> dict[str, Any]:
    patterns = private_patterns(samples["text"])
    shown = samples.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    table = patterns.join(
        shown,
        left_on="text",
        right_on="row",
        how="left",
        suffix="_written",
    ).select(
        "stars",
        "number",
        "pattern",
        "count",
        text="text_written",
    )
    table.write_parquet(folder / PRIVATE_FILE)
    real = private_patterns(reference.real["text"].head(samples.height))
    return {
        "private_patterns": int(patterns["count"].sum()),
        "real_private_patterns": int(real["count"].sum()),
    }


def private_patterns(texts: pl.Series) -> pl.DataFrame:
    """Find personal data in generated texts: what cleaning would mask (`models/text/personal_data.py`).

    A placeholder (`_email_`) is not a finding: the model has learnt that an address was there, but not which one.

    Args:
        texts: Generated texts, not yet in the normal form.

    Returns:
        Columns text (the number of the text), pattern, count: one row for each kind of pattern in a text.
    """
    counts = []
    for number, text in enumerate(texts.to_list()):
        for name, step in PATTERNS.items():
            masked = step.apply(text)
            if masked != text:
                count = masked.count(step.replacement) - text.count(step.replacement)
                counts.append(
                    {
                        "text": number,
                        "pattern": name,
                        "count": count,
                    }
                )

            text = masked

    return pl.DataFrame(
        counts,
        schema={
            "text": pl.Int64,
            "pattern": pl.String,
            "count": pl.Int64,
        },
    )
