"""Build the trunk of a spec."""

from __future__ import annotations

from typing import Any

from .bag import BagTrunk, SparseTrunk
from .convolution import ConvolutionTrunk
from .recurrent import RecurrentTrunk
from .trunk import Trunk


def make_trunk(spec: Any, entries: int) -> Trunk:
    """Return the trunk of a spec (`LabellerSpec`) with new random weights from torch's current random stream.

    Args:
        spec: Its `kind` names the trunk; the other options are those of the kind.
        entries: V, or the number of features of the kind "tfidf".
    """
    if spec.kind == "tfidf":
        return SparseTrunk(entries, spec.hidden, spec.dropout)
    if spec.kind == "bag":
        return BagTrunk(entries, spec.embedding, spec.pooling, spec.hidden, spec.dropout)
    if spec.kind == "cnn":
        return ConvolutionTrunk(entries, spec.embedding, spec.windows, spec.filters, spec.pooling, spec.dropout)
    return RecurrentTrunk(spec, entries)
