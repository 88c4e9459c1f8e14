"""Measure exposure: how much more probable a planted canary is to a model than similar texts that it has never seen.

Carlini et al. 2019 ("The Secret Sharer"), section 4: let *rank* be the position of the planted canary among all |R|
possible canaries, sorted by the model's nats. Then exposure = log2 |R| − log2 rank, in bits.

|R| is far too large to rank all of them. Exposure is also −log2 of the probability that a random candidate costs at
most as much as the canary (their definition 6). It is estimated by the canary's rank among randomly drawn candidates,
after those with equal nats. This makes no assumption: for any model, a canary that was never planted has exposure ≥ x
with probability 2^−x at most, and a model that gives all texts the same probability exposes none. The largest possible
value is log2(candidates + 1).
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from reviewlm.corpus.synthetic.canaries import Canaries, as_reviews
from reviewlm.evaluation.scoring.score import score_stream
from reviewlm.models.streams import TokenStream, write_stream

if TYPE_CHECKING:
    from reviewlm.models.bundles.bundle import Bundle

TOKENS_PER_BATCH = 1_024
"""Maximum number of tokens in a batch. Canaries are short, so a batch has many rows anyway. With 4,096 tokens this step
needed the most memory of an audit of Kaggle's `small`: 482 MiB instead of 437."""
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
"""Figures in bits: of all canaries with a rank, of those planted once, and the largest possible one."""
KNOWN_SHARE = 0.001
"""A canary is known by heart if it ranks first, or among this share of itself and the candidates."""


def measure_exposure(
    bundle: Bundle,
    canaries: Canaries | None,
    candidates: int,
    samples: pl.Series,
    work: Path,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Rank each planted canary among random candidates by the model's scores.

    Args:
        canaries: Canaries planted in its training text, if any.
        candidates: Number of random candidates that each canary is ranked among.
        samples: Texts that the model has written, to be searched for canaries.
        work: A folder that does not exist yet; it is removed at the end.

    Returns:
        The table `TABLE`, and the facts:

        - `canaries`: number of canaries;
        - `canaries_unknown`: canaries with an out-of-vocabulary word, which have no rank and no exposure;
        - `canaries_written`: samples that contain a canary;
        - `canaries_once`: canaries that have a rank and were planted once;
        - `canaries_known`: canaries among the `canaries_once` that are known by heart (`KNOWN_SHARE`);
        - `FACTS`: all None if no canary has a rank.
    """
    if canaries is None or not canaries.texts:
        names = ("", "_unknown", "_written", "_once", "_known")
        facts = {f"canaries{name}": 0 for name in names}
        return pl.DataFrame(schema=TABLE), {**facts, **dict.fromkeys(FACTS)}

    texts = list(canaries.texts)
    drawn = canaries.draw(candidates)
    rows = _score_texts(bundle, [*texts, *drawn], canaries.stars, work)
    nats = rows["nats"].to_numpy()
    planted_P, candidates_R = np.split(nats, [len(texts)])
    # A canary with an out-of-vocabulary word has no score of its own.
    planted_P = np.where(rows["oov"].to_numpy()[: len(texts)] > 0, np.nan, planted_P)
    lowered = samples.str.to_lowercase()
    written = [int(lowered.str.contains(text, literal=True).sum()) for text in texts]
    columns = {
        "canary": texts,
        "copies": canaries.copies,
        "oov": rows["oov"].head(len(texts)),
    }
    columns["nats"] = planted_P
    columns["rank"] = ranks(planted_P, candidates_R)
    columns["exposure"] = exposures(planted_P, candidates_R)
    columns["written"] = written
    table = pl.DataFrame(columns, TABLE)
    table = table.with_columns(pl.col("nats", "rank", "exposure").fill_nan(None))
    measured = table.drop_nulls("exposure")
    once = measured.filter(pl.col("copies") == 1)
    highest_known_rank = max(1, int(KNOWN_SHARE * (candidates + 1)))
    known = int((once["rank"] <= highest_known_rank).sum())
    found: dict[str, Any] = {"canaries": len(texts)}
    found["canaries_unknown"] = table.height - measured.height
    found["canaries_written"] = int(lowered.str.contains_any(texts).sum())
    found["canaries_once"] = once.height
    found["canaries_known"] = known
    found["exposure_max"] = measured["exposure"].max()
    found["exposure_mean"] = measured["exposure"].mean()
    found["exposure_once"] = once["exposure"].mean()
    found["exposure_limit"] = math.log2(candidates + 1) if measured.height else None
    return table, found


def _score_texts(
    bundle: Bundle,
    texts: Sequence[str],
    stars: int,
    work: Path,
) -> pl.DataFrame:
    """Return the scores of texts, computed as for any reviews: `reviewlm.evaluation.scoring.score.score_stream`."""
    ids = [f"{number:06d}" for number in range(len(texts))]
    reviews = as_reviews(pl.DataFrame({"review_id": ids, "text": texts}), stars)
    write_stream(work, bundle.vocabulary, [reviews])
    rows = score_stream(bundle, TokenStream.open(work), tokens_per_batch=TOKENS_PER_BATCH)
    shutil.rmtree(work)
    return rows


def ranks(nats_P: np.ndarray, candidates_R: np.ndarray) -> np.ndarray:
    """Return the rank (P,) of each canary among the R candidates: 1 + number of candidates that cost no more.

    A canary with probability 0 comes last, and one without a score (NaN) has no rank.
    """
    not_above_P = np.searchsorted(np.sort(candidates_R), nats_P, side="right")
    return np.where(np.isnan(nats_P), np.nan, 1 + not_above_P)


def exposures(nats_P: np.ndarray, candidates_R: np.ndarray) -> np.ndarray:
    """Return the exposure (P,) in bits of each canary by its rank among the candidates.

    Args:
        nats_P: Nats of the canaries; infinite for probability 0, which gives 0 bits.
        candidates_R: Nats of the candidates.
    """
    return np.log2((len(candidates_R) + 1) / ranks(nats_P, candidates_R))
