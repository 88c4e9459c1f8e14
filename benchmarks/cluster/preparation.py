"""Measure who works, from raw files to token streams and counts of order 5: the process that hands out, or the nodes.

    python -m benchmarks.cluster.preparation --folder /tmp/prepared --reviews 10000 40000 160000

Reviews are synthetic, in 16 files. "here" is one process without a cluster; "1" and "2" are Ray nodes of one core each,
"shared" with the folder as their storage, in which the home lies. All ways write the same bytes: compare "results".
"in process" begins with typed parts, computes the steps of the nodes in this process and subtracts their processor
seconds, so it shows the work of handing out without Ray's.

The "critical path" adds up, between the moments at which the run has waited for all that it has handed out, the
processor seconds of the node that had the most: with two undisturbed nodes the work takes so long.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
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
from unittest.mock import patch

import numpy as np

from benchmarks.cluster.pinned_nodes import pinned_nodes, seconds_by_process
from reviewlm.core.config.presets import load_config
from reviewlm.core.config.sections.data import CleanConfig, SourceConfig, SplitConfig
from reviewlm.core.store import Artifact
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.splitting.split import TRAIN_FIRST
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.models.dataflow import FilePiece
from reviewlm.models.specs import NGramSpec
from reviewlm.models.streams import TokenStream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.tasks.data.clean_parts import training_texts, write_on_nodes
from reviewlm.tasks.data.ingest import ingest_files
from reviewlm.tasks.data.prepare import VOCABULARY_FILE, clean_and_split, tokenize, train_vocabulary
from reviewlm.tasks.execution.cluster import RayEngine, engine_of
from reviewlm.training.ngram.partitions.fitting import fit_partitions
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.corpus.data_sets import ingest
from tests.in_process_dataflow import InProcess

FILES = 16
SAMPLE_SECONDS = 0.02
IDLE_SECONDS = 10.0
WAYS = ("here", "in process", "1", "2", "1 shared", "2 shared")


def raw_files(folder: Path, reviews: int) -> Path:
    """Return a folder with files of synthetic reviews, written once."""
    raw = folder / f"{reviews}-raw"
    if not raw.exists():
        raw.mkdir()
        for number in range(FILES):
            path = raw / f"{number:02d}.jsonl"
            write_reviews(path, reviews // FILES, seed=number, duplicates=0.02)
    return raw


def data_of(folder: Path, reviews: int) -> Path:
    """Return the folder of an ingested data set of synthetic reviews, written once."""
    data = folder / f"{reviews}-data"
    if not data.exists():
        ingest([raw_files(folder, reviews)], data, SourceConfig())
    return data


class Clock:
    """Processor seconds of this process by stage, and of the nodes between the moments at which all was done."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self.intervals: list[list[float]] = []
        self.paths: dict[str, list[float]] = {}
        self._noted = 0
        self._began = time.process_time()
        self._nodes = seconds_by_process()
        self._own = 0.0

    def note(self, stage: str) -> None:
        """End a stage."""
        self.wait_over()
        nodes = np.array([one for one in self.intervals[self._noted :] if one] or [[0.0]])
        self._noted = len(self.intervals)
        self.paths[stage] = [
            round(float(nodes.sum()), 2),
            round(float(nodes.max(1).sum()), 2),
        ]
        self.stages[stage] = round(time.process_time() - self._began - self._own, 3)
        self._began = time.process_time()
        self._own = 0.0

    def wait_over(self) -> None:
        """Note what each node has done since the last call; this takes time, which is not counted."""
        began = time.process_time()
        now = seconds_by_process()
        done = []
        for node, earlier in zip(now, self._nodes, strict=True):
            done.append(sum(node[pid] - earlier.get(pid, 0.0) for pid in node))
        self.intervals.append(done)
        self._nodes = now
        self._own += time.process_time() - began

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Call `wait_over` whenever the run has got all that it asked for."""
        fetch = RayEngine.fetch
        gather = RayEngine.gather
        ordered = RayEngine.ordered

        def waited(method: Any) -> Any:
            def each(*arguments: Any, **options: Any) -> Iterator[Any]:
                yield from method(*arguments, **options)
                self.wait_over()

            return each

        def gathered(*arguments: Any) -> Any:
            result = gather(*arguments)
            self.wait_over()
            return result

        with (
            patch.object(RayEngine, "fetch", waited(fetch)),
            patch.object(RayEngine, "gather", gathered),
            patch.object(RayEngine, "ordered", waited(ordered)),
        ):
            yield
        self.wait_over()

    def figures(self) -> dict[str, Any]:
        """Return the seconds of this process, of each node, and of the critical path."""
        nodes = np.array([one for one in self.intervals if one] or [[0.0]])
        return {
            "run's process": self.stages,
            "each node": nodes.sum(0).round(2).tolist(),
            "critical path": round(float(nodes.max(1).sum()), 2),
            "both nodes and critical path, by stage": self.paths,
        }


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


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


def stored(task: Any, *arguments: Any) -> Artifact:
    """Return the result of a stage, called without Prefect."""
    result = task.fn(*arguments)
    artifact: Artifact = getattr(result, "data", result)
    return artifact


def run_stages(
    raw: Path,
    home: Path,
    address: str,
    storage: str,
    clock: Clock,
) -> list[str]:
    """Read, clean, learn a vocabulary, encode, and count n-grams, as a run does; return the digests of the results."""
    shutil.rmtree(home, ignore_errors=True)
    os.environ["REVIEWLM_HOME"] = str(home)
    settings = [
        f"execution.cluster={address}",
        f"execution.storage={storage}",
        "execution.threads=1",
        f"source.input=['{raw}']",
    ]
    config = load_config("demo", settings)
    dataset = stored(ingest_files, config)
    clock.note("read")
    clean = stored(clean_and_split, config, dataset)
    clock.note("clean")
    name, spec = next(iter(config.vocabulary.items()))
    vocabulary = stored(
        train_vocabulary,
        config.workspace,
        name,
        spec,
        config.clean,
        clean,
    )
    clock.note("words")
    file = str(vocabulary.folder / VOCABULARY_FILE)
    tokens = {}
    for split in TRAIN_FIRST:
        tokens[split] = stored(
            tokenize,
            config.workspace,
            file,
            split,
            clean,
        )
    clock.note("tokens")
    if engine := engine_of(config.execution):
        train = TokenStream.open(tokens["train"].folder)
        fit_partitions(
            train,
            TokenStream.open(tokens["validation"].folder),
            NGramSpec(order=5),
            train.vocabulary_size,
            CONTEXT_IDS,
            engine,
        )
        clock.note("counts")

    files = [one.manifest["files"] for one in (dataset, clean, vocabulary, *tokens.values())]
    return [hashlib.sha256(json.dumps(one).encode()).hexdigest()[:8] for one in files]


def prepared(
    data: Path,
    out: Path,
    engine: InProcess,
) -> dict[str, Any]:
    """Clean, learn a vocabulary and encode; return the processor seconds of this process and digests of the files."""
    shutil.rmtree(out, ignore_errors=True)
    seconds = {}
    found: dict[str, Any] = {}
    began = time.process_time()

    def note(stage: str) -> None:
        nonlocal began
        seconds[stage] = round(time.process_time() - began - engine.seconds, 3)
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
    texts = training_texts(out / "clean", FilePiece.read)
    vocabulary = learn_vocabulary(
        texts,
        spec,
        NormalForm(),
        out,
        engine.ordered,
    )
    note("words")
    clean: Any = SimpleNamespace(folder=out / "clean", facts=facts)
    for split in TRAIN_FIRST:
        (out / split).mkdir()
        write_on_nodes(
            out / split,
            clean,
            split,
            vocabulary,
            None,
            engine,
            list[int]().append,
        )
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
    figures: dict[str, Any] = {"reviews": reviews, "way": way}
    if way == "in process":
        prepared(data_of(folder, 1_600), folder / "small", InProcess())
        result = prepared(data_of(folder, reviews), folder / f"{reviews}-in-process", InProcess())
        del result["files"]
        return figures | result

    nodes, _, shared = way.partition(" ")
    small = raw_files(folder, 1_600)
    raw = raw_files(folder, reviews)
    with cluster_of(nodes) as address:
        storage = str(folder) if shared else ""
        home = folder / f"home-{way.replace(' ', '-')}"
        run_stages(
            small,
            home,
            address,
            storage,
            Clock(),
        )
        idle = idle_share() if address else 0.0
        clock = Clock()
        began = time.perf_counter()
        with anonymous_memory() as peak, clock.watching():
            results = run_stages(
                raw,
                home,
                address,
                storage,
                clock,
            )
        wall = time.perf_counter() - began
        return {
            **figures,
            **clock.figures(),
            "wall": round(wall, 2),
            "of the run's process, Ray's threads while it waits": round(idle * wall, 3),
            "anonymous MiB of the run's process, before and peak": peak,
            "results": results,
        }


def idle_share() -> float:
    """Return the share of a core that Ray's threads of this process take while it only waits."""
    began = time.process_time()
    time.sleep(IDLE_SECONDS)
    return (time.process_time() - began) / IDLE_SECONDS


@contextmanager
def cluster_of(nodes: str) -> Iterator[str]:
    """Yield the address of a cluster of so many nodes of one core; "" if none is asked for."""
    if nodes == "here":
        yield ""
        return
    with pinned_nodes(int(nodes)) as cluster:
        yield cluster.address


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
