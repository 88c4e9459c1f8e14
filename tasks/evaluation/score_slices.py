"""Score a network by slices of the reviews, on the nodes of a cluster.

A network that a GPU trained in an hour would be scored for hours by the processor of the machine that asked for it. The
bundle and each slice's tokens travel through Ray's object store; a slice whose node is lost is scored again on another.
A slice is a number of whole batches, so on processors the scores are those of this machine to the bit.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from core.config.run_config import RunConfig
from core.environment import chosen_device
from core.processes.leftovers import claimed_folder
from core.provenance import git_commit, made_with
from core.store import Artifact
from evaluation.scoring.score import Batch, BatchScores, score_batch
from models.bundles.bundle import load_bundle
from tasks.cluster import RayEngine, connect
from tasks.code_version import running_code
from tasks.fitting.on_cluster import FOLDER, SentFile, has_gpus, received, require_code, sent

WEIGHTS = "*.safetensors"
"""Files of a bundle with the weights of networks; n-gram models have none."""
LEAST_WORK = 2e13
"""Bytes of weights × tokens from which scoring is handed over, and those of a slice: about a minute of two cores. A
node needs less to open the bundle."""
ON_GPU = 20
"""How many times as much work a slice for a GPU has, which takes longer to get ready than a processor."""


def weights_of(bundle: Path) -> int:
    """Return the bytes of the weights of the networks of a bundle."""
    return sum(file.stat().st_size for file in bundle.rglob(WEIGHTS))


def is_worth_handing_over(config: RunConfig, bundle: Path, tokens: Artifact) -> bool:
    """Return whether nodes of `execution.cluster` score a stream: if this machine has no GPU and needs long."""
    if not config.execution.cluster or chosen_device(config.execution.device) != "cpu":
        return False
    return weights_of(bundle) * int(tokens.facts["tokens"]) >= LEAST_WORK


@dataclass
class ScoreSlices:
    """Executor of the batches of a stream: the nodes of a cluster, see `ScoreBatches`.

    Attributes:
        made_by: After a slice: code, libraries, machine and resources of its node, for the record.
    """

    config: RunConfig
    bundle: Path
    made_by: dict[str, Any] = field(default_factory=dict)

    def __call__(self, batches: Iterable[Batch]) -> Iterator[BatchScores]:
        """Yield the scores of the batches.

        Raises:
            ConfigError: A node has other code, or no GPU where `execution.device` asks for one.
            ModelError: The cluster failed.
        """
        chosen = self.config.execution
        on_gpu = has_gpus(connect(chosen.cluster), self.config)
        tokens = int(LEAST_WORK * (ON_GPU if on_gpu else 1) / weights_of(self.bundle))
        score = partial(
            _score_slice, running_code().version(__name__), sent(self.bundle), chosen.device if on_gpu else "cpu"
        )
        engine, gpus = RayEngine(chosen.cluster), chosen.gpu_share if on_gpu else 0
        for scores, self.made_by in engine.ordered(score, _slices(batches, tokens), gpus=gpus):
            yield from scores


def _slices(batches: Iterable[Batch], tokens: int) -> Iterator[list[Batch]]:
    """Yield batches together until they have so many tokens."""
    some: list[Batch] = []
    for batch in batches:
        some.append(batch)
        if sum(len(one.ids) for one in some) >= tokens:
            yield some
            some = []
    if some:
        yield some


def _score_slice(
    code: str, bundle: list[SentFile], device: str, batches: list[Batch]
) -> tuple[list[BatchScores], dict[str, Any]]:
    """Return the scores of a slice, and what they were made by; on a node."""
    require_code(code, __name__)
    folder, lock = claimed_folder(Path(gettempdir()), FOLDER)
    try:
        received(bundle, folder)
        device = chosen_device(device)
        opened = load_bundle(folder, device)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
    resources = {"device": device, "ranks": 1, "threads": 1}
    made_by = {**made_with(), "git_commit": git_commit(), "resources": resources}
    return [score_batch(opened, batch) for batch in batches], made_by
