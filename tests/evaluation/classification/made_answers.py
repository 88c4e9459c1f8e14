"""Answers of made-up classifiers."""

import numpy as np

from evaluation.classification.predicted import Predicted

STARS = ("1", "2", "3", "4", "5")


def predicted(truth, answers, labels=STARS, probabilities=None, groups=None, ids=None):
    """Answers on reviews with the ids r0000, r0001 …; numbers of labels, not their names."""
    ids = [f"r{row:04d}" for row in range(len(truth))] if ids is None else ids
    groups = None if groups is None else np.asarray(groups)
    return Predicted(labels, np.asarray(truth), np.asarray(answers), probabilities, ids, groups)


def drawn(reviews=400, right=0.7, seed=1, labels=STARS, groups=None, probable=True):
    """Stars with unequal shares, answered right on about a share of the reviews, otherwise one star off.

    Reviews of equal numbers have equal true labels whatever the seed is. The probabilities are those of this process.
    """
    count = len(labels)
    truth = np.random.default_rng(0).choice(count, reviews, p=np.arange(1, count + 1) / (count * (count + 1) / 2))
    random = np.random.default_rng(seed)
    beside = np.clip(truth + random.choice([-1, 1], reviews), 0, count - 1)
    beside = np.where(beside == truth, (truth + 1) % count, beside)
    answers = np.where(random.random(reviews) < right, truth, beside)
    table = np.full((reviews, count), (1 - right) / (count - 1))
    table[np.arange(reviews), answers] = right
    return predicted(truth, answers, labels, table if probable else None, groups)
