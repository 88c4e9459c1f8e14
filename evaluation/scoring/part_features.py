"""Let a mixture and its network share what the network reads, where both are observed on the same texts.

Whichever of the two is observed first keeps the network's features in a folder; the other one finds them there. Its
results are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.scoring.part_scores import MixesScores, digests_of_parts
from models.neural.kept_features import KeepsFeatures, KeptFeatures

if TYPE_CHECKING:
    from models.bundles.bundle import Bundle


@contextmanager
def features_kept(bundle: Bundle, folder: Path | None) -> Iterator[None]:
    """Let a network, or those of a mixture, keep and look up their features in a folder within the block.

    Where *folder* is None, nothing is kept.
    """
    if folder is None:
        yield
        return
    networks = [(bundle.digest, bundle.model)]
    if isinstance(bundle.model, MixesScores):
        networks += zip(digests_of_parts(bundle), bundle.model.models, strict=False)  # none where it names no parts
    keeping = [(digest, model) for digest, model in networks if digest and isinstance(model, KeepsFeatures)]
    for digest, model in keeping:
        model.kept_features = KeptFeatures(folder / digest)
    try:
        yield
    finally:
        for _, model in keeping:
            model.kept_features = None
