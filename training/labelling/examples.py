"""Hold token sequences with their labels, and measure a classifier or tagger on them.

Shapes: D sequences, P positions of all of them, B of a batch; N = D sequences or P positions, K labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import log_softmax

from reviewlm.models.base import ModelError
from reviewlm.models.classification.classifier import mean_f1
from reviewlm.models.neural.labelling.rows import Sequences
from reviewlm.models.neural.labelling.spec import LabellingOptions
from reviewlm.models.neural.spec import NOT_SCORED

if TYPE_CHECKING:  # it imports torch, which most classifiers do not need
    from reviewlm.models.neural.labelling.labeller import Labeller

LOSS = "cross_entropy"
"""Name of the mean of −log softmax(s)_y among the figures of `measure`."""

POOL = 50
"""Batches whose sequences are sorted by length together, so that padding is short and the order is still random."""


@dataclass(frozen=True)
class LabelledSequences:
    """Sequences, and a target for each sequence or for each of their positions.

    Args:
        sequences: D sequences of P positions.
        targets: Labels (whole numbers), D of them for classification, P for tagging; the label `NOT_SCORED`
            (tagging only) leaves a position out of loss and error rate.
    """

    sequences: Sequences
    targets: np.ndarray

    @classmethod
    def of(
        cls, sequences: Sequence[Sequence[int] | np.ndarray], targets: Sequence[Any] | np.ndarray
    ) -> LabelledSequences:
        """Return examples given one by one: a target for each sequence, or a row of targets for each.

        Raises:
            ModelError: kind "input": a row of targets is not as long as its sequence.
        """
        if len(targets) and np.ndim(targets[0]) == 1:
            rows = [np.asarray(row) for row in targets]
            for number, (ids, row) in enumerate(zip(sequences, rows, strict=False)):
                if len(ids) != len(row):
                    raise ModelError(
                        f"sequence {number} has {len(ids)} positions and {len(row)} labels", "input"
                    )
            return cls(Sequences.of(sequences), np.concatenate(rows))
        return cls(Sequences.of(sequences), np.asarray(targets))

    def require(self, spec: LabellingOptions, entries: int) -> None:
        """Refuse examples that do not fit a spec and a vocabulary.

        Raises:
            ModelError: kind "input": see `Sequences.require`; not one target for each sequence or position; a label
                that the spec does not have (with its place); no target at all.
        """
        self.sequences.require(entries)
        self.require_targets(len(spec.labels), tagging=spec.task == "tagging")
        if not len(self.with_target()):
            raise ModelError(f"there is nothing to learn: all labels are {NOT_SCORED}", "input")

    def require_targets(
        self,
        labels: int,
        tagging: bool = False,
        noun: str = "sequence",
    ) -> None:
        """Refuse targets that are not one label number for each sequence (*noun*, in messages) or position."""
        targets = self.targets
        low = NOT_SCORED if tagging else 0
        if tagging:
            needed = len(self.sequences.ids_P)
            each = "position"
        else:
            needed = len(self.sequences)
            each = noun

        if targets.shape != (needed,):
            raise ModelError(
                f"targets are {targets.shape}; one for each {each} is needed, {needed} in all",
                "input",
            )

        whole = np.issubdtype(targets.dtype, np.integer)
        if whole:
            right = (targets >= low) & (targets < labels)
        else:
            right = np.zeros(needed, bool)

        if not right.all():
            wrong = int(np.flatnonzero(~right)[0])
            if tagging:
                place = self.sequences.place(wrong)
            else:
                place = f"{noun} {wrong}"

            allowed = (
                f"a whole number from 0 to {labels - 1}"
                + f", or {NOT_SCORED} where it is not asked" * tagging
            )
            raise ModelError(
                f"the target of {place} is {targets[wrong].item()!r}; it must be {allowed}", "input"
            )

    def with_target(self) -> np.ndarray:
        """Return the numbers of the sequences or positions that have a target."""
        return np.flatnonzero(self.targets != NOT_SCORED)

    def of_rows(self, spec: LabellingOptions, rows_B: np.ndarray) -> np.ndarray:
        """Return the targets of some sequences: one per sequence or, for tagging, one per position."""
        return self.targets[self.sequences.positions(rows_B) if spec.task == "tagging" else rows_B]


def prior(targets_N: np.ndarray, labels: int) -> np.ndarray:
    """Return the share of each label (K), with 0.5 added to each count."""
    counts_K = np.bincount(targets_N, minlength=labels) + 0.5
    shares_K: np.ndarray = counts_K / counts_K.sum()
    return shares_K


def log_loss(scores_NK: np.ndarray, targets_N: np.ndarray) -> float:
    """Return the mean of −log softmax(scores) of the targets, in nats."""
    return -float(log_softmax(scores_NK, 1)[np.arange(len(targets_N)), targets_N].mean())


def macro_f1(
    truth_N: np.ndarray,
    answers_N: np.ndarray,
    labels: int,
) -> float:
    """Return the macro-F1 of answers, see `mean_f1`; 0 if there are none.

    Args:
        truth_N: Label numbers.
        answers_N: Label numbers.
        labels: K.
    """
    right_K = np.bincount(truth_N[truth_N == answers_N], minlength=labels)
    true_K, answered_K = (
        np.bincount(numbers_N, minlength=labels) for numbers_N in (truth_N, answers_N)
    )
    return float(mean_f1(true_K, answered_K, right_K))


def measure(model: Labeller, examples: LabelledSequences) -> dict[str, float]:
    """Return the mean loss, "error_rate" and "macro_f1".

    Every sequence, or for tagging every position with a target, has the same weight.

    Raises:
        ModelError: kind "input": see `LabelledSequences.require`.
    """
    examples.require(model.spec, model.entries)
    scored = examples.with_target()
    scores_NK = model.scores(examples.sequences)[scored].astype(np.float64)
    targets_N = examples.targets[scored].astype(np.int64)
    answers_N = scores_NK.argmax(1)
    return {
        LOSS: log_loss(scores_NK, targets_N),
        "error_rate": float((answers_N != targets_N).mean()),
        "macro_f1": macro_f1(targets_N, answers_N, len(model.spec.labels)),
    }


def shuffle_rows(
    sequences: Sequences,
    draw: np.random.Generator,
    size: int,
) -> Iterator[np.ndarray]:
    """Yield the numbers of all rows once, *size* at a time, in random order, similar lengths together."""
    order = draw.permutation(len(sequences))
    groups = []
    for first, last in pairwise([*range(0, len(sequences), POOL * size), len(sequences)]):
        pool = order[first:last]
        pool = pool[np.argsort(sequences.lengths[pool], kind="stable")]
        groups += [pool[i : i + size] for i in range(0, len(pool), size)]
    for index in draw.permutation(len(groups)):
        yield groups[index]
