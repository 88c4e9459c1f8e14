"""Measure how well an n-gram model finds odd reviews.

    python -m benchmarks.data.odd_reviews [--input FILES] [--reviews N]

Odd reviews are planted among reviews of the same source that the model was not trained on: reviews in other languages,
reviews with shuffled words, and reviews that the model itself wrote. Three scores are compared: the surprise of a
review, its deviation from reviews of its length (`evaluation.drift.odd_reviews`), its curvature. This needs the whole
distribution before each token: (Σ entropy − Σ nats) / √Σ variance, as in Fast-DetectGPT (Bao et al. 2024, equation 3),
with the model itself in both roles. Without `--input` the text is the embedded corpus.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import rankdata

from benchmarks.data.foreign_reviews import FOREIGN
from benchmarks.harness import say
from reviewlm.core.config.sections.data import CleanConfig, SourceConfig, SplitConfig
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.evaluation.drift.odd_reviews import (
    compare,
    compare_values,
    odd_counts,
    surprise,
)
from reviewlm.evaluation.scoring.score import score_stream
from reviewlm.models.base import predictions
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.sampling import generate
from reviewlm.models.specs import NGramSpec, VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.corpus.data_sets import ingest

SHARE = 0.02
TEXTS_AT_ONCE = 8


@dataclass(frozen=True)
class Judged:
    """Scored reviews of one kind, and the scores of their oddness; larger is odder."""

    scored: pl.DataFrame
    scores: dict[str, np.ndarray]


def area_under_curve(odd_P: np.ndarray, usual_N: np.ndarray) -> float:
    """Return the probability that an odd review has a larger score than a usual one, with ties counted half.

    This is the area under the ROC curve, computed from the rank sum of Mann and Whitney (1947).
    """
    ranks = rankdata(np.concatenate([odd_P, usual_N]))
    return float(
        (ranks[: len(odd_P)].sum() - len(odd_P) * (len(odd_P) + 1) / 2)
        / (len(odd_P) * len(usual_N))
    )


def found_among_top(
    odd_P: np.ndarray,
    usual_N: np.ndarray,
    share: float = 0.02,
) -> float:
    """Return the share of odd reviews with a score above that of all but *share* of the usual ones."""
    allowed = int(share * len(usual_N))
    limit = np.sort(usual_N)[len(usual_N) - 1 - allowed]
    return float((odd_P > limit).mean())


def split_reviews(
    files: Sequence[Path],
    folder: Path,
    reviews: int,
    seed: int,
) -> dict[str, pl.DataFrame]:
    """Return clean reviews of the three splits, 30 % of them held out; at most *reviews* of each held-out split."""
    if not files:
        files = [folder / "reviews.jsonl"]
        write_reviews(files[0], 6 * reviews, seed)

    for name in ("dataset", "clean"):
        (folder / name).mkdir()

    ingest(list(files), folder / "dataset", SourceConfig())
    split = SplitConfig(validation=0.15, test=0.15)
    prepare(
        folder / "dataset",
        folder / "clean",
        CleanConfig(),
        split,
        threads=1,
    )
    found = {
        name: pl.concat(iter_split(folder / "clean", name))
        for name in ("train", "validation", "test")
    }
    return {name: rows if name == "train" else rows.head(reviews) for name, rows in found.items()}


def fitted(
    train: pl.DataFrame,
    folder: Path,
    order: int,
) -> Bundle:
    """Return a modified Kneser-Ney model of the training reviews."""
    vocabulary = learn_vocabulary(
        train["text"].to_list(), VocabularySpec(min_count=2), NormalForm(), folder
    )
    stream = stream_of(vocabulary, train, folder / "train")
    work = folder / "fit"
    work.mkdir()
    spec = NGramSpec(name="kn", order=order)
    model = fit_model(
        spec,
        vocabulary,
        stream,
        stream,
        FitContext(work),
    ).model
    return Bundle(spec, vocabulary, model)


def stream_of(
    vocabulary: Vocabulary,
    rows: pl.DataFrame,
    folder: Path,
) -> TokenStream:
    """Return the tokens of some reviews."""
    write_stream(folder, vocabulary, [rows])
    return TokenStream.open(folder)


def planted(
    bundle: Bundle,
    usual: pl.DataFrame,
    count: int,
    seed: int,
) -> dict[str, pl.DataFrame]:
    """Return odd reviews: foreign, shuffled, and written by the model at temperatures 1 and 0.8."""
    draw = np.random.default_rng(seed)
    foreign = []
    for number in range(count):
        sentences = FOREIGN[list(FOREIGN)[number % len(FOREIGN)]]
        foreign.append(" ".join(draw.choice(sentences, draw.integers(3, 9), replace=False)))

    shuffled = [
        " ".join(draw.permutation(text.split())) for text in usual["text"].head(count).to_list()
    ]
    plain = generate(bundle, count, None, seed=seed)
    careful = generate(
        bundle,
        count,
        None,
        temperature=0.8,
        top_p=0.95,
        seed=seed,
    )
    kinds: dict[str, Sequence[str]] = {
        "foreign": foreign,
        "shuffled": shuffled,
        "generated, t = 1": plain,
        "generated, t = 0.8": careful,
    }
    return {name: _reviews(name, texts) for name, texts in kinds.items()}


def _reviews(name: str, texts: Sequence[str]) -> pl.DataFrame:
    texts = [text if text.strip() else "." for text in texts]
    return pl.DataFrame(
        {
            "review_id": [f"{name} {n}" for n in range(len(texts))],
            "text": texts,
            "stars": [0] * len(texts),
            "bytes": [len(text.encode()) + 1 for text in texts],
            "words": [len(text.split()) for text in texts],
        }
    )


def curvature(bundle: Bundle, stream: TokenStream) -> np.ndarray:
    """Return (Σ entropy − Σ nats) / √Σ variance of −log p of each review: about 0 for the model's own writing."""
    sums_D3 = np.zeros((len(stream), 3))
    offsets = np.asarray(stream.offsets)
    for start in range(0, len(stream), TEXTS_AT_ONCE):
        rows = range(start, min(start + TEXTS_AT_ONCE, len(stream)))
        width = max(int(offsets[row + 1] - offsets[row]) for row in rows)
        ids_BT = np.full((len(rows), width), BOS, np.int64)
        wanted_BT = np.zeros((len(rows), width), bool)
        for place, row in enumerate(rows):
            ids = np.asarray(stream.ids[offsets[row] : offsets[row + 1]], np.int64)
            ids_BT[place, : len(ids)], wanted_BT[place, : len(ids)] = (
                ids,
                ~np.isin(ids, list(CONTEXT_IDS)),
            )
        for found in predictions(bundle.model, ids_BT, wanted_BT):
            logp_NV = found.logp_NV.astype(np.float64)
            p_NV = np.exp(logp_NV)
            cost_NV = np.where(p_NV > 0, -logp_NV, 0.0)
            mean_N = (p_NV * cost_NV).sum(1)
            variance_N = (p_NV * cost_NV**2).sum(1) - mean_N**2
            nats_N = -logp_NV[np.arange(len(logp_NV)), ids_BT[found.text_N, found.position_N]]
            np.add.at(sums_D3, start + found.text_N, np.stack([mean_N, nats_N, variance_N], 1))

    return (sums_D3[:, 0] - sums_D3[:, 1]) / np.sqrt(sums_D3[:, 2])


def judge(
    bundle: Bundle,
    known: Judged,
    rows: pl.DataFrame,
    folder: Path,
) -> Judged:
    """Score reviews of one kind and compare them with known reviews, which are already scored."""
    stream = stream_of(bundle.vocabulary, rows, folder)
    scored = score_stream(bundle, stream)
    deviation_N = compare(known.scored, scored).deviation_N
    curvature_N = curvature(bundle, stream)
    sizes = (known.scored["bytes"].to_numpy(), scored["bytes"].to_numpy())
    typical_N = compare_values(
        known.scores["curvature"], sizes[0], curvature_N, sizes[1]
    ).deviation_N
    scores = {
        "surprise": surprise(scored),
        "too surprising": deviation_N,
        "too predictable": -deviation_N,
        "either end": np.abs(deviation_N),
        "curvature": curvature_N,
        "curvature, either end": np.abs(typical_N),
    }
    return Judged(scored, scores)


def known_ones(
    bundle: Bundle,
    rows: pl.DataFrame,
    folder: Path,
) -> Judged:
    """Score the reviews that others are compared with."""
    stream = stream_of(bundle.vocabulary, rows, folder)
    return Judged(score_stream(bundle, stream), {"curvature": curvature(bundle, stream)})


def run(
    files: Sequence[Path],
    reviews: int,
    count: int,
    order: int,
    seed: int,
) -> dict[str, object]:
    """Return the false alarms on usual reviews, and by planted kind and score the AUC and the share found."""
    with tempfile.TemporaryDirectory(prefix="reviewlm-odd-") as temporary:
        folder = Path(temporary)
        splits = split_reviews(files, folder, reviews, seed)
        bundle = fitted(splits["train"], folder, order)
        known = known_ones(bundle, splits["validation"], folder / "known")
        usual = judge(bundle, known, splits["test"].head(reviews), folder / "usual")
        alarms = odd_counts(known.scored, usual.scored, SHARE)
        rows = []
        for number, (kind, odd_rows) in enumerate(
            planted(bundle, splits["test"], count, seed).items()
        ):
            odd = judge(bundle, known, odd_rows, folder / f"odd{number}")
            rows += [
                {
                    "planted": kind,
                    "score": name,
                    "auc": area_under_curve(odd_P, usual.scores[name]),
                    "found_in_top": found_among_top(odd_P, usual.scores[name], SHARE),
                }
                for name, odd_P in odd.scores.items()
            ]

    return {
        "train": splits["train"].height,
        "known": known.scored.height,
        "usual": usual.scored.height,
        "planted_each": count,
        "order": order,
        "seed": seed,
        "vocabulary": bundle.vocabulary.size,
        "nominal": SHARE,
        "false_alarms": alarms,
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print the table; write it as JSON with --json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--input",
        type=Path,
        nargs="*",
        default=[],
    )
    parser.add_argument(
        "--reviews",
        type=int,
        default=1_000,
        help="known and usual reviews, each",
    )
    parser.add_argument(
        "--planted",
        type=int,
        default=100,
        help="of each kind",
    )
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    found = run(
        chosen.input,
        chosen.reviews,
        chosen.planted,
        chosen.order,
        chosen.seed,
    )
    rows = found.pop("rows")
    say(json.dumps(found))
    for row in rows:  # type: ignore[attr-defined]
        say(
            f"{row['planted']:<20} {row['score']:<22} AUC {row['auc']:.3f}   in the top 2 % {row['found_in_top']:.2f}"
        )

    if chosen.json:
        chosen.json.write_text(json.dumps({**found, "rows": rows}, indent=1), encoding="utf-8")

    return 0


if __name__ == "__main__":
    sys.exit(main())
