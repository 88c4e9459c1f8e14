"""Measure who works, from typed parts to token streams: the process that hands out, or the nodes.

    python -m benchmarks.cluster.preparation --folder /tmp/prepared --reviews 10000 40000 160000

Reviews are synthetic, in 16 files. "here" is one process without a cluster; "in process" computes the steps of the nodes
in this process and subtracts their processor seconds, so it shows the work of handing out without Ray's; "1" and "2" are
Ray nodes of one core each, "shared" with the folder as their storage. All ways write the same bytes, which is checked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.cluster.pinned_nodes import node_seconds, pinned_nodes, workers_seconds
from reviewlm.core.config.presets import load_config
from reviewlm.core.config.sections.data import CleanConfig, SourceConfig, SplitConfig
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.splitting.split import TRAIN_FIRST
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.models.dataflow import FilePiece
from reviewlm.models.streams import write_encoded
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.tasks.data.clean_parts import encoded_reviews, training_texts, write_on_nodes
from reviewlm.tasks.execution.cluster import RayEngine
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.corpus.data_sets import ingest
from tests.in_process_dataflow import InProcess

FILES = 16
SAMPLE_SECONDS = 0.02
WAYS = ("here", "in process", "1", "2", "1 shared", "2 shared")


def data_of(folder: Path, reviews: int) -> Path:
    """Return the folder of an ingested data set of synthetic reviews, written once."""
    data = folder / f"{reviews}-data"
    if data.exists():
        return data
    sources = []
    for number in range(FILES):
        path = folder / f"{reviews}-{number}.jsonl"
        write_reviews(path, reviews // FILES, seed=number, duplicates=0.02)
        sources.append(path)
    ingest(sources, data, SourceConfig())
    for path in sources:
        path.unlink()
    return data


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


@contextmanager
def engine_of(way: str, folder: Path) -> Iterator[Any]:
    """Yield who does the work: None, steps in this process, or Ray nodes, which may exchange files of a folder."""
    if way == "here":
        yield None
    elif way == "in process":
        yield InProcess()
    else:
        nodes, _, shared = way.partition(" ")
        with pinned_nodes(int(nodes)) as cluster:
            yield RayEngine(cluster.address, str(folder) if shared else "")


@contextmanager
def anonymous_memory() -> Iterator[list[int]]:
    """Yield the memory of this process in MiB without mapped files: now, and the peak once the block has ended."""
    found = [_anonymous(), 0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            found[1] = max(found[1], _anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("RssAnon:")[2].split(maxsplit=1)[0]) >> 10


def prepared(
    data: Path,
    out: Path,
    engine: Any,
) -> dict[str, Any]:
    """Clean, learn a vocabulary and encode; return the processor seconds of this process and digests of the files."""
    shutil.rmtree(out, ignore_errors=True)
    fan_out = engine.ordered if engine else map
    keep_file = getattr(engine, "keep_file", FilePiece.read) if engine else None
    seconds = {}
    found: dict[str, Any] = {}
    began = time.process_time()

    def note(stage: str) -> None:
        nonlocal began
        inside = getattr(engine, "seconds", 0.0)
        seconds[stage] = round(time.process_time() - began - inside, 3)
        if inside:
            engine.seconds = 0.0
        began = time.process_time()

    facts = prepare(
        data,
        out / "clean",
        CleanConfig(),
        SplitConfig(),
        threads=1,
        engine=engine,
    )
    note("clean")
    spec = next(iter(load_config("demo", []).vocabulary.values()))
    texts = training_texts(out / "clean", keep_file)
    vocabulary = learn_vocabulary(
        texts,
        spec,
        NormalForm(),
        out,
        fan_out,
    )
    note("words")
    clean: Any = SimpleNamespace(folder=out / "clean", facts=facts)
    for split in TRAIN_FIRST:
        (out / split).mkdir()
        if engine:
            write_on_nodes(
                out / split,
                clean,
                split,
                vocabulary,
                None,
                engine,
                list[int]().append,
            )
        else:
            batches = encoded_reviews(
                clean,
                split,
                vocabulary,
                None,
                fan_out,
            )
            write_encoded(out / split, vocabulary, batches)
    note("tokens")
    for split in TRAIN_FIRST:
        found[split] = digests(out / split)
    return {"run's process": seconds, "files": {"clean": digests(out / "clean"), **found}}


def measured(
    folder: Path,
    reviews: int,
    way: str,
) -> dict[str, Any]:
    """Return what one way takes, after a small run that loads and compiles everything."""
    small = data_of(folder, 1_600)
    data = data_of(folder, reviews)
    with engine_of(way, folder) as engine:
        prepared(small, folder / "small", engine)
        children = workers_seconds()
        nodes = node_seconds()
        began = time.perf_counter()
        with anonymous_memory() as peak:
            result = prepared(data, folder / f"{reviews}-{way.replace(' ', '-')}", engine)
        wall = time.perf_counter() - began
        each = [seconds - nodes.get(pid, 0.0) for pid, seconds in node_seconds().items()]
        files = hashlib.sha256(json.dumps(result.pop("files")).encode()).hexdigest()[:12]
        return {
            "reviews": reviews,
            "way": way,
            **result,
            "children": round(workers_seconds() - children, 2),
            "each node": [round(seconds, 2) for seconds in each],
            "wall": round(wall, 2),
            "anonymous MiB of the run's process, before and peak": peak,
            "files": files,
        }


def main() -> None:
    """Measure each way with each number of reviews, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument(
        "--reviews",
        type=int,
        nargs="+",
        default=[10_000, 40_000, 160_000],
    )
    parser.add_argument(
        "--ways",
        choices=WAYS,
        nargs="+",
        default=list(WAYS),
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--one", action="store_true", help="measure in this process")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if chosen.one:
        print(json.dumps(measured(chosen.folder, chosen.reviews[0], chosen.ways[0])), flush=True)
        return

    for _ in range(chosen.rounds):
        for reviews in chosen.reviews:
            for way in chosen.ways:
                command = [sys.executable, "-m", "benchmarks.cluster.preparation", "--one"]
                command += ["--folder", str(chosen.folder), "--reviews", str(reviews)]
                subprocess.run([*command, "--ways", way], check=False)


if __name__ == "__main__":
    main()
