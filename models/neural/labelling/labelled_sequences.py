"""Store labelled sequences: rows of token ids, and the targets.

Shapes: D sequences, P positions of all of them, B sequences of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...base import ModelError
from ..spec import NOT_SCORED
from .rows import Sequences as Sequences
from .spec import LabellingOptions


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
                    raise ModelError(f"sequence {number} has {len(ids)} positions and {len(row)} labels", "input")
            return cls(Sequences.of(sequences), np.concatenate(rows))
        return cls(Sequences.of(sequences), np.asarray(targets))

    def require(self, spec: LabellingOptions, entries: int) -> None:
        """Refuse examples that do not fit a spec and a vocabulary.

        Raises:
            ModelError: kind "input": see `Sequences.require`; not one target for each sequence or position; a label
                that the spec does not have (with its place); no target at all.
        """
        self.sequences.require(entries)
        tagging, targets = spec.task == "tagging", self.targets
        needed, each = (len(self.sequences.ids_P), "position") if tagging else (len(self.sequences), "sequence")
        if targets.shape != (needed,):
            raise ModelError(f"targets are {targets.shape}; one for each {each} is needed, {needed} in all", "input")
        low = NOT_SCORED if tagging else 0
        whole = np.issubdtype(targets.dtype, np.integer)
        right = (targets >= low) & (targets < len(spec.labels)) if whole else np.zeros(needed, bool)
        if not right.all():
            wrong = int(np.flatnonzero(~right)[0])
            place = self.sequences.place(wrong) if tagging else f"sequence {wrong}"
            allowed = f"a whole number from 0 to {len(spec.labels) - 1}, or {NOT_SCORED} where a tagger is not asked"
            raise ModelError(f"the target of {place} is {targets[wrong]!r}; it must be {allowed}", "input")
        if not len(self.asked()):
            raise ModelError(f"there is nothing to learn: all labels are {NOT_SCORED}", "input")

    def asked(self) -> np.ndarray:
        """Return the numbers of the sequences or positions that have a target."""
        return np.flatnonzero(self.targets != NOT_SCORED)

    def of_rows(self, spec: LabellingOptions, rows_B: np.ndarray) -> np.ndarray:
        """Return the targets of some sequences: one per sequence or, for tagging, one per position."""
        return self.targets[self.sequences.positions(rows_B) if spec.task == "tagging" else rows_B]
