"""Tell before a training which gain the gate will be able to prove with the test reviews that there are."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl

from core.config.run_config import RunConfig
from core.store import Artifact
from corpus.splitting.split import iter_split
from evaluation.gate.rules.case import least_sure_gain
from evaluation.statistics.groups import groups_of
from tasks.data.documents import documents_of

NOTEWORTHY = 0.02
"""Least provable gain that is worth a line: many a better model gains less over the n-gram baseline."""
log = logging.getLogger(__name__)


def provable_gain(config: RunConfig, clean: Artifact) -> float:
    """Return the smallest gain that the gate can call sure with the test reviews of prepared data."""
    test = pl.concat(iter_split(clean.folder, "test")).select("review_id", "bytes")
    groups_D, bytes_D = groups_of(test["review_id"], documents_of(clean)), test["bytes"].to_numpy()
    sizes = bytes_D if groups_D is None else np.bincount(groups_D, bytes_D)
    return least_sure_gain(sizes, config.promotion.confidence, config.promotion.max_review_loss)


def tell_provable_gain(config: RunConfig, clean: Artifact) -> None:
    """Log the smallest provable gain if it is so large that a better model may be refused."""
    if (least := provable_gain(config, clean)) > NOTEWORTHY:
        log.info(
            "with %s test reviews, only a model that is at least %.1f %% better can be promoted; more reviews, or "
            "a larger split.test, lower this", f"{clean.facts['splits']['test']['reviews']:,}", 100 * least,
        )  # fmt: skip
