"""Score a network by slices of the reviews, on the nodes of a cluster.

A network that a GPU trained in an hour would be scored for hours by the processor of the machine that asked for it. The
bundle and each slice's tokens travel through Ray's object store; a slice whose node is lost is scored again on another.
A slice is a number of whole batches, so on processors the scores are those of one thread of this machine to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.environment import chosen_device
from reviewlm.core.store import Artifact
from reviewlm.evaluation.scoring.score import Batch, BatchScores, ScoreBatches, score_batch
from reviewlm.models.bundles.bundle import load_bundle
from reviewlm.tasks.execution.cluster import RayEngine, connect, has_gpus
from reviewlm.tasks.execution.node_files import SentFile, opened_on_node, send_files

WEIGHTS = "*.safetensors"
"""Files of a bundle with the weights of networks; n-gram models have none."""
LEAST_WORK = 2e13
"""Bytes of weights × tokens from which scoring is handed over, and those of a slice: about a minute of two cores. A
node needs less to open the bundle."""
ON_GPU = 20
"""How many times as much work a slice for a GPU has, which takes longer to get ready than a processor."""


def scored_on_nodes(
    execution: ExecutionConfig,
    bundle: Path,
    tokens: Artifact,
) -> ScoreBatches | None:
    """Return a scorer of streams on nodes of `execution.cluster`; None if this machine has a GPU or is quick enough.

    It raises ConfigError if a node has other code; ClusterFailed if the cluster fails.
    """
    if not execution.cluster or chosen_device(execution.device) != "cpu":
        return None

    weights = sum(file.stat().st_size for file in bundle.rglob(WEIGHTS))
    if weights * int(tokens.facts["tokens"]) < LEAST_WORK:
        return None

    def score(batches: Iterable[Batch]) -> Iterator[BatchScores]:
        engine = RayEngine(execution.cluster, execution.storage)
        device = "cpu"
        gpus = 0.0
        work = 1
        if has_gpus(connect(execution.cluster), execution):
            device = execution.device
            gpus = execution.gpu_share
            work = ON_GPU

        one = partial(_score_slice, send_files(bundle), device)
        slices = _slices(batches, int(LEAST_WORK * work / weights))
        return chain.from_iterable(engine.ordered(one, slices, gpus=gpus))

    return score


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
    bundle: list[SentFile],
    device: str,
    batches: list[Batch],
) -> list[BatchScores]:
    """Return the scores of a slice; on a node."""
    with opened_on_node(bundle) as folder:
        opened = load_bundle(folder, chosen_device(device))
    return [score_batch(opened, batch) for batch in batches]
