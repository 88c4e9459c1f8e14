"""Score the parts of a mixture in the pass that scores the mixture, which reads them anyway.

Else a network that is also a part of a mixture would read the same text with the same weights twice. So a mixture is
scored before its parts. What these gave is written to a folder. Where one of them is scored next, its files are taken
from there. They are the same to the bit: the same products of the same batches.

Shapes: D reviews of a stream, or of a batch; T positions.

Let a mixture and its network share what the network reads, where both are observed on the same texts.

Whichever of the two is observed first keeps the network's features in a folder; the other one finds them there. Its
results are the same to the bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from models.neural.kept_features import KeepsFeatures, KeptFeatures

if TYPE_CHECKING:
    from models.base import LanguageModel
    from models.bundles.bundle import Bundle
    from models.streams import TokenStream

SECONDS_FILE = "seconds.json"
"""Seconds that a part itself took."""


@runtime_checkable
class MixesScores(Protocol):
    """A model whose scores follow from those of its parts: `models.mixture.lm.MixtureLM`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts."""
        ...

    @property
    def models(self) -> tuple[LanguageModel, ...]:
        """The parts."""
        ...

    def mixed(
        self, ids_BT: np.ndarray, state: Any, part_scores: Sequence[tuple[np.ndarray, Any]]
    ) -> tuple[np.ndarray, Any]:
        """Return what `score` does, from what the `score` of each part gave."""
        ...


@dataclass
class ModelScores:
    """What one model gave to D reviews.

    Args:
        nats_D: Nats of each review.
        tokens: The tokens that are kept one by one: review, position and nats (3, N).
        seconds: Spent in the model.
    """

    nats_D: np.ndarray
    tokens: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, rows: np.ndarray, some: ModelScores) -> None:
        """Add what the model gave to the reviews *rows*."""
        self.nats_D[rows] = some.nats_D
        self.tokens += some.tokens
        self.seconds += some.seconds


def digests_of_parts(bundle: Bundle) -> tuple[str, ...]:
    """Return the digests of the bundles that a mixture was made of; none for other models.

    Nor for a mixture that does not name them: only a run writes them into the bundle.
    """
    digests = bundle.facts.get("parts")
    if not isinstance(bundle.model, MixesScores) or not isinstance(digests, dict):
        return ()
    names = bundle.model.names
    return tuple(str(digests[name]) for name in names) if set(names) <= digests.keys() else ()


def score_each(model: Any, ids_BT: np.ndarray, state: Any, parts: bool) -> tuple[list[tuple[np.ndarray, float]], Any]:
    """Return nats and seconds of a model, and with *parts* of each part of a mixture; and the model's state."""
    began = perf_counter()
    if not parts:
        nats_BT, after = model.score(ids_BT, state)
        return [(nats_BT, perf_counter() - began)], after
    part_scores, each = [], []
    for part, part_state in zip(model.models, state.parts, strict=True):
        start = perf_counter()
        part_scores.append(part.score(ids_BT, part_state))
        each.append((part_scores[-1][0], perf_counter() - start))
    nats_BT, after = model.mixed(ids_BT, state, part_scores)
    return [(nats_BT, perf_counter() - began), *each], after


class PartScores:
    """Scores of the parts of mixtures, kept in a folder during an evaluation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, digest: str, stream: TokenStream) -> Path:
        """Return the folder for the scores of a bundle on a stream; the contents of both tell them apart."""
        named = json.dumps([digest, stream.facts["sha256"]], sort_keys=True)
        return self._folder / hashlib.sha256(named.encode()).hexdigest()

    def is_kept(self, digest: str, stream: TokenStream) -> bool:
        """Return whether these scores are there."""
        return self.place(digest, stream).is_dir()

    @contextmanager
    def kept(self, digest: str, stream: TokenStream, seconds: float) -> Iterator[Path]:
        """Yield a folder for the files of these scores; they are in their place, all at once, after the block."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as unfinished:
            (whole := Path(unfinished) / "whole").mkdir()
            yield whole
            (whole / SECONDS_FILE).write_text(json.dumps(seconds), encoding="utf-8")
            try:
                whole.rename(self.place(digest, stream))
            except OSError:
                if not self.is_kept(digest, stream):  # else another mixture with this part was faster
                    raise

    def take(self, digest: str, stream: TokenStream, folder: Path) -> float:
        """Move the files of these scores to *folder*; return the seconds that the part took."""
        with tempfile.TemporaryDirectory(dir=self._folder) as taken:
            whole = Path(taken) / "whole"
            self.place(digest, stream).rename(whole)  # at once: another mixture with this part may keep its own now
            seconds = float(json.loads((whole / SECONDS_FILE).read_text(encoding="utf-8")))
            for file in sorted(whole.iterdir()):
                if file.name != SECONDS_FILE:
                    shutil.move(file, folder / file.name)
        return seconds


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
