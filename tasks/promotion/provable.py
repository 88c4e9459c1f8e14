"""Compute before a training the smallest gain that the gate can prove with the available test reviews."""

from __future__ import annotations

import logging

import numpy as np

from core.config.run_config import RunConfig
from core.store import Artifact
from corpus.splitting.split import scan_split
from evaluation.statistics.groups import groups_of, least_sure_gain
from tasks.data.documents import documents_of, grouped_by

NOTEWORTHY = 0.02
"""Least provable gain that is worth a line: many a better model gains less over the n-gram baseline."""
log = logging.getLogger(__name__)


def tell_provable_gain(config: RunConfig, clean: Artifact) -> None:
    """Log the smallest gain that can be proved, if it is so large that a better model may be refused."""
    table = scan_split(clean.folder, "test")
    test = table.select("review_id", "bytes").collect()
    documents, policy, bytes_D = documents_of(clean), config.promotion, test["bytes"].to_numpy()
    groups_D = groups_of(test["review_id"], documents)
    sizes = bytes_D if groups_D is None else np.bincount(groups_D, bytes_D)
    by = "" if groups_D is None else f" in {len(sizes):,} groups ({grouped_by(clean, documents)})"
    there = f"there are {len(test):,} test reviews{by}"
    if len(sizes) < policy.min_test_reviews:
        log.warning("%s, and the gate promotes no model with fewer than %d: give more reviews, or a larger split.test",
                    there, policy.min_test_reviews)  # fmt: skip
        return
    limit = min(policy.min_relative_gain, policy.min_gain_over_baseline)
    least = least_sure_gain(sizes, policy.confidence, policy.max_review_loss, limit)
    if least > NOTEWORTHY:
        log.info("%s: a gain over baseline or champion below %.1f %% cannot be proved", there, 100 * least)
