"""Observe a model at every token of a sample of test reviews: scores, usefulness, calibration, use of context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from core.config.run_config import RunConfig
from core.store import Artifact, Built
from evaluation.probing.context_length import context_curve
from evaluation.scoring.calibration import calibration_error, chance_error, reliability
from evaluation.scoring.keystrokes import usefulness
from evaluation.scoring.observe import held_out_temperature, observe
from evaluation.scoring.score import TOKEN_NATS, drawn_reviews
from models.streams import TokenStream, unigram_counts
from tasks.fitting.fit import bundle_digest
from tasks.gpus import OpenBundle
from tasks.stage import run_stage

OBSERVE_VERSION = 3
TOKEN_SCORES_FILE, RELIABILITY_FILE, CONTEXT_FILE = "token_scores.parquet", "reliability.parquet", "context.parquet"
OPTIONS = {"observed_reviews", "contexts", "context_tokens", "seed"}


def observe_bundle(
    config: RunConfig, bundle_folder: Path, tokens: dict[str, Artifact], scores: Artifact, label: str
) -> Built:
    """Return token scores, usefulness, calibration and effective context of a bundle on the observed test reviews.

    Args:
        config: Number of reviews, and the context lengths.
        bundle_folder: Folder of the model's bundle.
        tokens: Token streams in its vocabulary, by split.
        scores: Scores of this bundle on the test split.
        label: Name in the log.
    """
    options = config.evaluation.model_dump(mode="json", include=OPTIONS)

    def make(work: Path) -> dict[str, Any]:
        bundle = opened()
        test, validation, train = (TokenStream.open(tokens[split].folder) for split in ("test", "validation", "train"))
        seed, size = options["seed"], options["observed_reviews"]
        reviews = drawn_reviews(test, size, seed)
        fitted = held_out_temperature(bundle, validation, drawn_reviews(validation, size, seed), seed)
        counts_V = unigram_counts(train, bundle.vocabulary.size)
        token_nats = pl.read_parquet(scores.folder / TOKEN_NATS)
        rows = observe(bundle, test, reviews, token_nats, counts_V, fitted.value)
        rows.write_parquet(work / TOKEN_SCORES_FILE)
        curve, effective = context_curve(bundle, test, options["contexts"], options["context_tokens"], seed)
        curve.write_parquet(work / CONTEXT_FILE)
        useful = usefulness(rows, int(test.documents["bytes"].gather(reviews).sum()))
        facts = {"reviews": len(reviews), "tokens": len(rows), **useful, **_calibration(rows, work)}
        facts |= {"temperature": fitted.value, "best_temperature": fitted.best, "temperature_tokens": fitted.tokens}
        return {**facts, "entropy": float(rows["entropy"].to_numpy().mean()), "effective_context": effective}

    inputs = {
        "bundle": bundle_digest(bundle_folder), "scores": scores.digest,
        **{split: tokens[split].digest for split in ("train", "validation", "test")},
    }  # fmt: skip
    with OpenBundle(config, bundle_folder) as opened:
        return run_stage(config, "observe", OBSERVE_VERSION, options, inputs, make, label)


def _calibration(rows: pl.DataFrame, work: Path) -> dict[str, float]:
    """Write the reliability table; return calibration error and nats per token, with and without temperature."""
    correct_N = (rows["rank"] == 1).fill_null(False).to_numpy()
    confidence_N, tempered_N = rows["confidence"].to_numpy(), rows["tempered_confidence"].to_numpy()
    table = reliability(confidence_N, correct_N)
    table.write_parquet(work / RELIABILITY_FILE)
    return {
        "ece": calibration_error(table),
        "chance_ece": chance_error(confidence_N),
        "tempered_ece": calibration_error(reliability(tempered_N, correct_N)),
        "nll": float(rows["nats"].to_numpy().mean()),
        "tempered_nll": float(rows["tempered_nats"].to_numpy().mean()),
    }
