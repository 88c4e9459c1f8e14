"""Compare Ray Data with tasks and references of our own: raw reviews to tokens to counted n-grams of order 5.

    python -m benchmarks.cluster.dataflow --reviews 100000 --rounds 3

Both use the same inner functions: parse, bring into normal form, encode with a vocabulary learnt before, deal windows,
count. Between them lies one exchange by key (the last word of a context). "tasks" hands its partitions on by reference;
"rows" lets Ray Data group one row a window; "blobs" one row for each block and partition, with the windows as bytes.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.cluster.pinned_nodes import node_seconds, pinned_nodes, workers_seconds
from reviewlm.core.config.presets import load_config
from reviewlm.corpus.cleaning.normalise import normalise
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.threads import peak_resident
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.execution.cluster import RayEngine
from reviewlm.training.ngram.counting.counts import mask
from reviewlm.training.ngram.partitions.counted import PartRules, PartSums, count_part
from reviewlm.training.ngram.partitions.windows import (
    TextBlock,
    Windows,
    WordTotals,
    deal,
    sum_words,
    word_ranges,
)
from reviewlm.training.vocabularies.learn import learn_vocabulary

ORDER = 5
PARTS = 8
FILES = 16


def tokens_of(
    vocabulary: Vocabulary,
    form: NormalForm,
    content: bytes,
) -> TextBlock:
    """Return the reviews of a file of JSON lines as ids."""
    frame = pl.read_ndjson(content)
    texts = normalise(frame["text"], form)
    encoded = vocabulary.encode_documents(texts, frame["stars"].cast(pl.Int8).to_numpy(), False)
    return TextBlock(encoded.ids.astype(np.uint16), encoded.offsets)


def read_file(
    vocabulary: Vocabulary,
    form: NormalForm,
    path: str,
) -> list[Any]:
    """Return the ids of a file, and how often its words occur."""
    block = tokens_of(vocabulary, form, Path(path).read_bytes())
    return [block, sum_words(block, mask(CONTEXT_IDS, vocabulary.size))]


def rules_of(vocabulary: Vocabulary) -> PartRules:
    """Return the rules of counting everything."""
    return PartRules(mask(CONTEXT_IDS, vocabulary.size), vocabulary.size - 1, (0,) * (ORDER - 1))


def counted(rules: PartRules, *windows: Windows) -> list[PartSums]:
    """Return the sums of a partition."""
    return [count_part(rules, windows)[1]]


def edges_of(sums: list[WordTotals], parts: int) -> np.ndarray:
    """Return ranges of words with about as many windows each."""
    contexts_V = np.sum([one.contexts_V for one in sums], axis=0)
    return word_ranges(contexts_V, -(-int(contexts_V.sum()) // parts))


def by_tasks(
    engine: RayEngine,
    paths: list[str],
    vocabulary: Vocabulary,
) -> int:
    """Count with tasks of our own; return the number of n-grams."""
    form = NormalForm()
    read = engine.put(partial(read_file, vocabulary, form))
    blocks = [engine.submit(read, path, results=2) for path in paths]
    edges = edges_of(list(engine.fetch(one[1] for one in blocks)), PARTS)
    deals = engine.put(
        partial(
            deal,
            given_V=rules_of(vocabulary).given_V,
            order=ORDER,
            edges=edges,
        )
    )
    parts = len(edges) - 1
    windows = [engine.submit(deals, one[0], results=parts) for one in blocks]
    rules = engine.put(rules_of(vocabulary))
    sums = [
        engine.submit(counted, rules, *(one[number] for one in windows))[0]
        for number in range(parts)
    ]
    return sum(sum(one.ngrams) for one in engine.fetch(sums))


def parsed(
    batch: dict[str, np.ndarray],
    vocabulary: Vocabulary,
    form: NormalForm,
) -> Any:
    """Return ids and offsets of files as bytes, for Ray Data."""
    blocks = [tokens_of(vocabulary, form, content) for content in batch["bytes"]]
    return {
        "ids": [block.ids.tobytes() for block in blocks],
        "offsets": [block.offsets.astype(np.int64).tobytes() for block in blocks],
    }


def block_of(ids: bytes, offsets: bytes) -> TextBlock:
    """Return the block that `parsed` put into bytes."""
    return TextBlock(np.frombuffer(ids, np.uint16), np.frombuffer(offsets, np.int64))


def occurring(batch: dict[str, Any], given_V: np.ndarray) -> Any:
    """Return how often the words of some blocks end a context."""
    sums = [
        sum_words(block_of(*one), given_V).contexts_V
        for one in zip(batch["ids"], batch["offsets"], strict=True)
    ]
    return {"contexts": [one.tobytes() for one in sums]}


def dealt_rows(
    batch: dict[str, Any],
    given_V: np.ndarray,
    edges: np.ndarray,
) -> Any:
    """Return one row for each window."""
    some = [
        windows
        for one in zip(batch["ids"], batch["offsets"], strict=True)
        for windows in deal(block_of(*one), given_V, ORDER, edges)
    ]
    codes = np.concatenate([one.code_NP for one in some], axis=1)
    parts = np.arange(len(some)) % (len(edges) - 1)
    sizes = [one.code_NP.shape[1] for one in some]
    columns = {f"code_{place}": codes[place] for place in range(ORDER)}
    return {"part": np.repeat(parts, sizes).astype(np.int32), **columns}


def dealt_blobs(
    batch: dict[str, Any],
    given_V: np.ndarray,
    edges: np.ndarray,
) -> Any:
    """Return one row for each block and partition."""
    rows: dict[str, list[Any]] = {"part": [], "codes": []}
    for one in zip(batch["ids"], batch["offsets"], strict=True):
        for part, windows in enumerate(deal(block_of(*one), given_V, ORDER, edges)):
            rows["part"].append(part)
            rows["codes"].append(windows.code_NP.tobytes())
    return rows


def count_rows(batch: dict[str, np.ndarray], rules: PartRules) -> Any:
    """Count the windows of a group of rows."""
    codes = np.stack([batch[f"code_{place}"] for place in range(ORDER)])
    sums = count_part(rules, [Windows(codes, np.zeros(0, np.int64))])[1]
    return {"ngrams": [sum(sums.ngrams)]}


def count_blobs(batch: dict[str, Any], rules: PartRules) -> Any:
    """Count the windows of a group of blobs."""
    windows = [
        Windows(np.frombuffer(blob, np.uint16).reshape(ORDER, -1), np.zeros(0, np.int64))
        for blob in batch["codes"]
    ]
    return {"ngrams": [sum(count_part(rules, windows)[1].ngrams)]}


def by_data(
    rows: bool,
    engine: RayEngine,
    paths: list[str],
    vocabulary: Vocabulary,
) -> int:
    """Count with Ray Data; return the number of n-grams."""
    import ray.data
    from ray.data.context import DataContext, ShuffleStrategy

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.shuffle_strategy = ShuffleStrategy.HASH_SHUFFLE
    context.max_hash_shuffle_aggregators = 2
    # Else a shuffle never begins on one core.
    context.hash_shuffle_operator_actor_num_cpus_override = 0
    rules = rules_of(vocabulary)
    files = ray.data.read_binary_files(paths, override_num_blocks=len(paths))
    blocks = files.map_batches(
        partial(parsed, vocabulary=vocabulary, form=NormalForm()), batch_size=1
    ).materialize()
    sums = blocks.map_batches(partial(occurring, given_V=rules.given_V), batch_size=1)
    contexts = [np.frombuffer(row["contexts"], np.int64) for row in sums.iter_rows()]
    edges = edges_of([WordTotals(one, one) for one in contexts], PARTS)
    dealt, count = (dealt_rows, count_rows) if rows else (dealt_blobs, count_blobs)
    deals = partial(dealt, given_V=rules.given_V, edges=edges)
    windows = blocks.map_batches(deals, batch_size=1)
    grouped = windows.groupby("part", num_partitions=PARTS)
    made = grouped.map_groups(partial(count, rules=rules), batch_format="numpy")
    return sum(row["ngrams"] for row in made.iter_rows())


WAYS: dict[str, Callable[..., int]] = {
    "tasks": by_tasks,
    "blobs": partial(by_data, False),
    "rows": partial(by_data, True),
}


def measured(
    way: str,
    nodes: int,
    paths: list[str],
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    """Return wall and processor seconds of one way on so many nodes, after a warm-up that starts the workers."""
    with pinned_nodes(nodes) as cluster:
        engine = RayEngine(cluster.address)
        WAYS[way](engine, paths[: 2 * nodes], vocabulary)
        began = time.perf_counter()
        own = time.process_time()
        others = workers_seconds()
        before = node_seconds()
        ngrams = WAYS[way](engine, paths, vocabulary)
        return {
            "ngrams": ngrams,
            "wall": round(time.perf_counter() - began, 2),
            "run's process": round(time.process_time() - own, 3),
            "children": round(workers_seconds() - others, 2),
            "each node": [
                round(seconds - before.get(node, 0.0), 2)
                for node, seconds in node_seconds().items()
            ],
            "peak MiB of the run's process": peak_resident() >> 20,
        }


def source_files(folder: Path, reviews: int) -> list[str]:
    """Return files of synthetic reviews, written once."""
    paths = []
    for number in range(FILES):
        path = folder / f"{reviews}-{number}.jsonl"
        if not path.exists():
            write_reviews(path, reviews // FILES, seed=number)
        paths.append(str(path))
    return paths


def texts_of(paths: list[str]) -> Iterator[str]:
    """Yield the texts of files."""
    for path in paths:
        yield from normalise(pl.read_ndjson(path)["text"], NormalForm())


def main() -> None:
    """Measure one way in this process, or all of them in new ones, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--nodes", type=int, default=1)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    paths = source_files(chosen.folder, chosen.reviews)
    file = chosen.folder / "vocabulary.json"
    if not file.exists():
        config = load_config("demo", [])
        spec = next(iter(config.vocabulary.values()))
        learn_vocabulary(texts_of(paths[:2]), spec, NormalForm(), chosen.folder).save(file)

    if chosen.way:
        result = measured(chosen.way, chosen.nodes, paths, Vocabulary.load(file))
        print(
            json.dumps(
                {
                    "way": chosen.way,
                    "nodes": chosen.nodes,
                    **result,
                }
            ),
            flush=True,
        )
        return

    import subprocess

    for _ in range(chosen.rounds):
        for way in WAYS:
            for nodes in (1, 2):
                command = [sys.executable, "-m", "benchmarks.cluster.dataflow", "--way", way]
                command += ["--nodes", str(nodes), "--folder", str(chosen.folder)]
                command += ["--reviews", str(chosen.reviews)]
                subprocess.run(command, check=False)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
