"""Audit a model: let it write reviews, compare them with real ones, and rank canaries planted in its training text.

The samples are compared with the training text and with real reviews (`RealText`), which are the
same for all models of a data set; samples and real reviews are cut at the same number of words. No figure uses a
model's own tokens, so figures of models with different vocabularies can be compared.

Find personal data in generated reviews with the patterns that cleaning masks (`models/text/personal_data.py`).

Measure exposure: how much more probable a planted canary is to a model than similar texts that it has never seen.

Carlini et al. 2019 ("The Secret Sharer"), section 4: let *rank* be the position of the planted canary among all |R|
possible canaries, sorted by the model's nats. Then exposure = log2 |R| − log2 rank, in bits.

|R| is far too large to rank all of them. Exposure is also −log2 of the probability that a random candidate costs at
most as much as the canary (their definition 6). It is estimated by the canary's rank among randomly drawn candidates,
after those with equal nats. This makes no assumption: for any model, a canary that was never planted has exposure ≥ x
with probability 2^−x at most, and a model that gives all texts the same probability exposes none. The largest possible
value is log2(candidates + 1).

Build the reference that samples are compared with: training text as words, held-out reviews.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from reviewlm.core.config.sections.evaluation import AuditConfig
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.corpus.synthetic.canaries import Canaries, as_reviews
from reviewlm.evaluation.scoring.score import score_stream
from reviewlm.evaluation.writing.novelty import (
    ORDERS,
    PASSAGE,
    copied_passages,
    copied_spans,
    overlap,
)
from reviewlm.evaluation.writing.word_stream import (
    WordStream,
    open_word_stream,
    pieces_of,
    word_stream,
    write_word_stream,
)
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import MASKS
from reviewlm.models.threads import return_freed

if TYPE_CHECKING:
    from reviewlm.models.bundles.bundle import Bundle


POSITIONS = 1_024
"""Tokens that are scored at a time, as in all scores at most this many. Canaries are short, so batches have many rows
anyway, and with 4,096 tokens the largest moment of an audit of Kaggle's `small` was here: 482 MiB instead of 437."""
TABLE = {
    "canary": pl.String,
    "copies": pl.Int64,
    "oov": pl.Int64,
    "nats": pl.Float64,
    "rank": pl.Float64,
    "exposure": pl.Float64,
    "written": pl.Int64,
}
"""Columns of the table that `measure_exposure` returns: one row for each planted canary."""
FACTS = ("exposure_max", "exposure_mean", "exposure_once", "exposure_limit")
KNOWN_SHARE = 0.001
"""A canary is known by heart if it ranks first, or among this share of itself and the candidates."""
BATCH_ROWS = 2_000
REAL_REVIEWS = 2_000
"""Maximum number of held-out reviews that samples are compared with."""
REVIEWS_FILE = "reviews.parquet"
REAL_FILE = "real.parquet"
CURVE_FILE = "curve.json"
MARGIN = 1.2
"""Samples of sub-word tokens are this many times longer than needed, because the number of tokens per word varies."""
SAMPLES_FILE = "samples.parquet"
COPIED_FILE = "copied.parquet"
EXPOSURE_FILE = "exposure.parquet"
NOVELTY_FILE = "novelty.parquet"
PRIVATE_FILE = "private.parquet"
TABLES = (COPIED_FILE, EXPOSURE_FILE, NOVELTY_FILE, PRIVATE_FILE)
PATTERNS = {step.name: step for step in MASKS}


def measure_exposure(
    bundle: Bundle, canaries: Canaries | None, candidates: int, samples: pl.Series, work: Path
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Rank each planted canary among random candidates by the model's scores.

    Args:
        canaries: Canaries planted in its training text, if any.
        candidates: Number of random candidates that each canary is ranked among.
        samples: Texts that the model has written, to be searched for canaries.
        work: A folder that does not exist yet; it is removed at the end.

    Returns:
        The table `TABLE`, and facts: canaries, canaries_unknown (canaries with an out-of-vocabulary word, which have no
        exposure), canaries_written (samples that contain one), canaries_once (that have a rank and were planted once),
        canaries_known (those of them that are known by heart, `KNOWN_SHARE`), and `FACTS`. These are None if no canary
        has a rank.
    """
    texts = []
    if canaries:
        texts = list(canaries.texts)

    if canaries is None or not texts:
        names = ("", "_unknown", "_written", "_once", "_known")
        facts = {f"canaries{name}": 0 for name in names}
        return pl.DataFrame(schema=TABLE), {**facts, **dict.fromkeys(FACTS)}

    drawn = canaries.draw(candidates)
    rows = _score_texts(bundle, [*texts, *drawn], canaries.stars, work)
    nats = rows["nats"].to_numpy()
    planted_P, candidates_R = np.split(nats, [len(texts)])
    planted_P = np.where(rows["oov"].to_numpy()[: len(texts)] > 0, np.nan, planted_P)
    lowered = samples.str.to_lowercase()
    written = [int(lowered.str.contains(text, literal=True).sum()) for text in texts]
    columns = {
        "canary": texts,
        "copies": canaries.copies,
        "oov": rows["oov"].head(len(texts)),
        "nats": planted_P,
        "rank": ranks(planted_P, candidates_R),
        "exposure": exposures(planted_P, candidates_R),
        "written": written,
    }
    table = pl.DataFrame(columns, TABLE)
    table = table.with_columns(pl.col("nats", "rank", "exposure").fill_nan(None))
    measured = table.drop_nulls("exposure")
    once = measured.filter(pl.col("copies") == 1)
    known_until = max(1, int(KNOWN_SHARE * (candidates + 1)))
    known = int((once["rank"] <= known_until).sum())
    facts = {
        "canaries": len(texts),
        "canaries_unknown": table.height - measured.height,
        "canaries_written": int(lowered.str.contains_any(texts).sum()),
        "canaries_once": once.height,
        "canaries_known": known,
    }
    exposures_of_canaries = {
        "exposure_max": measured["exposure"].max(),
        "exposure_mean": measured["exposure"].mean(),
        "exposure_once": once["exposure"].mean(),
        "exposure_limit": math.log2(candidates + 1) if measured.height else None,
    }
    return table, {**facts, **exposures_of_canaries}


def _score_texts(bundle: Bundle, texts: Sequence[str], stars: int, work: Path) -> pl.DataFrame:
    """Return the scores of texts, computed as for any reviews: `reviewlm.evaluation.scoring.score.score_stream`."""
    ids = [f"{number:06d}" for number in range(len(texts))]
    reviews = as_reviews(pl.DataFrame({"review_id": ids, "text": texts}), stars)
    write_stream(work, bundle.vocabulary, [reviews])
    rows = score_stream(bundle, TokenStream.open(work), tokens_per_batch=POSITIONS)
    shutil.rmtree(work)
    return rows


def ranks(nats_P: np.ndarray, candidates_R: np.ndarray) -> np.ndarray:
    """Return the rank (P,) of each canary among the R candidates: 1 + number of candidates that cost no more.

    A canary with probability 0 comes last, and one without a score (NaN) has no rank.
    """
    until = np.searchsorted(np.sort(candidates_R), nats_P, side="right")
    return np.where(np.isnan(nats_P), np.nan, 1 + until)


def exposures(nats_P: np.ndarray, candidates_R: np.ndarray) -> np.ndarray:
    """Return the exposure (P,) in bits of each canary by its rank among the candidates.

    Args:
        nats_P: Nats of the canaries; infinite for probability 0, which gives 0 bits.
        candidates_R: Nats of the candidates.
    """
    return np.log2((len(candidates_R) + 1) / ranks(nats_P, candidates_R))


@dataclass(frozen=True)
class RealText:
    """Reference that `make_reference` wrote to *folder*."""

    folder: Path

    @cached_property
    def training(self) -> WordStream:
        """The training text, memory-mapped."""
        return open_word_stream(self.folder)

    @cached_property
    def review_ids(self) -> pl.Series:
        """Ids of the training reviews, in the order of the stream."""
        return pl.read_parquet(self.folder / REVIEWS_FILE)["review_id"]

    @cached_property
    def real(self) -> pl.DataFrame:
        """Held-out reviews: review_id, text, longest.

        longest: number of words of the longest span within the first `most_words` that occurs in the training text.
        """
        return pl.read_parquet(self.folder / REAL_FILE)

    @cached_property
    def real_curve(self) -> list[float | None]:
        """Shares of n-grams of the held-out reviews that occur in the training text, n = 1, 2, …

        Only the first `most_words` words of each review are used.
        """
        curve: list[float | None] = json.loads(
            (self.folder / CURVE_FILE).read_text(encoding="utf-8")
        )
        return curve


def make_reference(
    clean_folder: Path,
    folder: Path,
    most_words: int,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Build the reference that models of a prepared data set are audited with.

    Args:
        clean_folder: Folder written by `reviewlm.corpus.cleaning.clean.prepare`.
        folder: Output folder; it gets 8 bytes for each word of the training text.
        most_words: Maximum length of samples: only this number of first words of a held-out review is looked up.
        report: Called with the number of training reviews done.

    Returns:
        Facts: words (of the training text), real_reviews.
    """
    ids: list[pl.Series] = []

    def texts() -> Iterator[pl.Series]:
        for batch in iter_split(clean_folder, "train", BATCH_ROWS):
            ids.append(batch["review_id"])
            yield batch["text"]
            report(sum(map(len, ids)))

    training = write_word_stream(folder, texts())
    pl.DataFrame({"review_id": pl.concat(ids)}).write_parquet(folder / REVIEWS_FILE)
    real = next(iter_split(clean_folder, "test", REAL_REVIEWS)).select("review_id", "text")
    copies = overlap(word_stream(real["text"]).cut_at(most_words), training)
    real.with_columns(longest=pl.Series(copies.longest_D)).write_parquet(folder / REAL_FILE)
    (folder / CURVE_FILE).write_text(json.dumps(copies.curve()), encoding="utf-8")
    return {"words": len(training.words_N), "real_reviews": real.height}


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
    facts = _novelty(samples, texts, reference, config.max_words, folder)
    return_freed()  # each of these leaves gaps that the next one does not fit
    facts |= _passages(texts, facts["copied_8"], reference, config.max_words)
    return_freed()
    facts |= _private(samples, reference, folder)
    return_freed()
    table, exposed = measure_exposure(
        bundle, canaries, config.candidates, samples["text"], folder / "scored"
    )
    table.write_parquet(folder / EXPOSURE_FILE)
    return facts | exposed


def draw_samples(
    bundle: Bundle, config: AuditConfig, tokens_per_word: float, report: Report = lambda done: None
) -> pl.DataFrame:
    """Generate samples with the model: columns stars, number, text, seed, in a random order.

    The stars have the shares of the training reviews. Text *number* of a rating is the one that
    `reviewlm.models.sampling.generate` writes under that number.
    """
    margin = (
        MARGIN if bundle.vocabulary.lossless else 1.0
    )  # a word vocabulary has one token per word
    most = math.ceil(config.max_words * max(tokens_per_word, 1.0) * margin)
    counts = dict(enumerate(shared_out(config.samples, bundle.stars_prior)))
    from reviewlm.models.sampling import Sampling, generate_rated  # imports torch
    from reviewlm.models.sampling.generation import BATCH

    def after_text(done: int) -> None:
        if done % BATCH == 0 or done == config.samples:
            # Distributions of fewer and fewer texts leave gaps that those of the next batch do not fit.
            return_freed()

        report(done)

    sampling = (
        Sampling()
    )  # of the unchanged model: only such samples can be compared with real reviews
    texts = generate_rated(bundle, counts, sampling, most, config.seed, after_text)
    rows = [
        {"stars": stars, "number": number, "text": text, "seed": config.seed}
        for stars in counts
        for number, text in enumerate(texts[stars])
    ]
    schema = {"stars": pl.Int64, "number": pl.Int64, "text": pl.String, "seed": pl.Int64}
    order = np.random.default_rng(config.seed).permutation(len(rows))
    return pl.DataFrame(rows, schema=schema)[order]


def shared_out(count: int, shares: Sequence[float]) -> list[int]:
    """Return whole numbers in proportion to *shares* that add up to *count* (largest remainders)."""
    exact = np.asarray(shares, np.float64) / sum(shares) * count
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact, kind="stable")[: count - whole.sum()]] += 1
    return [int(number) for number in whole]


def _novelty(
    samples: pl.DataFrame, texts: WordStream, reference: RealText, most_words: int, folder: Path
) -> dict[str, Any]:
    copies = overlap(texts, reference.training)
    pieces = pieces_of(samples["text"]).list.head(most_words)
    spans = copied_spans(
        samples.select("stars", "number", pieces=pieces), copies, reference.training.offsets
    )
    ids = reference.review_ids.gather(spans["review"])
    spans.with_columns(review_id=ids).drop("review").write_parquet(folder / COPIED_FILE)
    curve = {"n": range(1, ORDERS + 1), "samples": copies.curve(), "real": reference.real_curve}
    pl.DataFrame(
        curve, schema={"n": pl.Int64, "samples": pl.Float64, "real": pl.Float64}
    ).write_parquet(folder / NOVELTY_FILE)
    real_longest = reference.real["longest"].head(samples.height).max()
    facts: dict[str, Any] = {"samples": samples.height, "words": len(texts.words_N)}
    facts |= {f"copied_{n}": copies.share(n) for n in (4, 8)}
    facts |= {f"real_copied_{n}": reference.real_curve[n - 1] for n in (4, 8)}
    facts["longest_copied"] = int(copies.longest_D.max())
    facts["real_longest_copied"] = int(real_longest or 0)  # type: ignore[arg-type]
    return facts


def _passages(
    texts: WordStream, copied: float | None, reference: RealText, most_words: int
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


def _private(samples: pl.DataFrame, reference: RealText, folder: Path) -> dict[str, Any]:
    patterns = private_patterns(samples["text"])
    shown = samples.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    table = patterns.join(
        shown, left_on="text", right_on="row", how="left", suffix="_written"
    ).select("stars", "number", "pattern", "count", text="text_written")
    table.write_parquet(folder / PRIVATE_FILE)
    real = private_patterns(reference.real["text"].head(samples.height))
    return {
        "private_patterns": int(patterns["count"].sum()),
        "real_private_patterns": int(real["count"].sum()),
    }


def private_patterns(texts: pl.Series) -> pl.DataFrame:
    """Find the text that cleaning would mask.

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
                counts.append({"text": number, "pattern": name, "count": count})
            text = masked
    return pl.DataFrame(counts, schema={"text": pl.Int64, "pattern": pl.String, "count": pl.Int64})
