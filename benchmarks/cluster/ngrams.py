"""Measure a Kneser–Ney fit of order 5 in one process, and in partitions on nodes of one core each.

    python -m benchmarks.cluster.ngrams --tokens 4000000 --nodes 2

`--nodes 0` fits in this process. Processor seconds of children hold Ray's own processes, too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.cluster.pinned_nodes import node_seconds, pinned_nodes, workers_seconds
from reviewlm.models.specs import NGramSpec
from reviewlm.models.threads import peak_resident
from reviewlm.tasks.execution.cluster import RayEngine
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.fitting import fit_tables
from reviewlm.training.ngram.partitions.fitting import fit_partitions

V = 20_000
GIVEN = (1, 3)
DOCUMENT = 100
SPEC = NGramSpec(order=5, min_documents=2)


def zipf_text(tokens: int, seed: int) -> Any:
    """Return documents of `DOCUMENT` tokens, of words as frequent as Zipf's law says."""
    ids = np.minimum(np.random.default_rng(seed).zipf(1.2, tokens) + 3, V - 1).astype(np.uint16)
    ids[::DOCUMENT] = 1
    ids[1::DOCUMENT] = 3
    return SimpleNamespace(ids=ids, offsets=np.append(np.arange(0, tokens, DOCUMENT), tokens))


@contextmanager
def measured(figures: dict[str, Any]) -> Iterator[None]:
    """Add wall and processor seconds of the block to some figures."""
    began = time.perf_counter()
    own = time.process_time()
    others = workers_seconds()
    nodes = node_seconds()
    yield
    figures["wall"] = round(time.perf_counter() - began, 2)
    figures["run's process"] = round(time.process_time() - own, 3)
    figures["children"] = round(workers_seconds() - others, 2)
    figures["each node"] = [
        round(seconds - nodes.get(node, 0.0), 2) for node, seconds in node_seconds().items()
    ]
    figures["peak MiB of the run's process"] = peak_resident() >> 20


def main() -> None:
    """Print the figures of one fit as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4_000_000)
    parser.add_argument("--nodes", type=int, default=0)
    chosen = parser.parse_args()
    text = zipf_text(chosen.tokens, 1)
    held_out = zipf_text(chosen.tokens // 10, 2)
    figures: dict[str, Any] = {"tokens": chosen.tokens, "nodes": chosen.nodes}
    if not chosen.nodes:
        with measured(figures):
            counts = count_ngrams(
                text,
                SPEC.order,
                V,
                GIVEN,
                min_documents=SPEC.min_documents,
            )
            figures["ngrams"] = sum(map(len, fit_tables(counts, SPEC).tables.logp))
    else:
        with pinned_nodes(chosen.nodes) as cluster:
            engine = RayEngine(cluster.address)
            small = zipf_text(chosen.nodes * 200_000, 3)
            fit_partitions(
                small,
                held_out,
                SPEC,
                V,
                GIVEN,
                engine,
            )  # starts the workers
            with measured(figures):
                fit = fit_partitions(
                    text,
                    held_out,
                    SPEC,
                    V,
                    GIVEN,
                    engine,
                )
            figures["ngrams"] = sum(map(len, fit.tables.logp))

    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
