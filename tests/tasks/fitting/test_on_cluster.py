"""A fit on a cluster: a lost node, killed processes, other code; the result is that of a fit here to the bit."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from reviewlm.core.config.sections.data import CleanConfig, SourceConfig, SplitConfig
from reviewlm.core.errors import ConfigError, OutOfMemory, RankFailed, StoreFull
from reviewlm.core.provenance import PACKAGE
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.cleaning.clean_batch import CleanCounts
from reviewlm.corpus.cleaning.node_slices import SliceFacts
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.evaluation.scoring.score import score_stream
from reviewlm.models.bundles.bundle import load_bundle
from reviewlm.models.specs import NGramSpec
from reviewlm.models.streams import TokenStream
from reviewlm.tasks.evaluation import score_slices
from reviewlm.tasks.evaluation.score_slices import scored_on_nodes
from reviewlm.tasks.execution import cluster as machinery
from reviewlm.tasks.execution.cluster import RayEngine, is_installed
from reviewlm.tasks.execution.code_version import SourceCode, running_code
from reviewlm.tasks.execution.node_files import SentFile, receive_files
from reviewlm.tasks.fitting import on_cluster
from reviewlm.tasks.fitting.fit_process import run_job
from reviewlm.tasks.fitting.job import LanguageModelJob
from reviewlm.tasks.fitting.on_cluster import FOLDER, ClusterRun, JobActor, NodeTaken
from reviewlm.tracking.client import open_client
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.training.context import Pace
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.fitting import fit_tables
from reviewlm.training.ngram.partitions import fitting as partitions
from reviewlm.training.ngram.partitions.counted import PartSums
from reviewlm.training.ngram.partitions.fitting import fit_partitions
from tests.core.waiting import until
from tests.corpus.data_sets import ingest
from tests.programs import command
from tests.small_cluster import MISSING, NODE, small_cluster
from tests.tasks.fitting.small_jobs import home, job_in, network

LONG = network(epochs=40, evaluations=40)
"""A fit with many checkpoints."""


def test_a_node_imports_no_framework_of_a_run() -> None:
    said = subprocess.run(
        command("list_node_imports"),
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        check=True,
    )
    assert said.stdout.strip() == "[]"


def test_a_node_with_other_code_refuses_by_name_before_it_reads_anything(tmp_path: Path) -> None:
    config = home(tmp_path, "here")
    job = job_in(config, network(), tmp_path / "here" / "work")
    with pytest.raises(ConfigError) as refused:
        JobActor().run(
            job,
            "0" * 12,
            [],
            [],
            "cpu",
        )
    assert refused.value.where == platform.node()
    assert "0" * 12 in refused.value.cause


def test_a_full_disk_of_a_node_is_told_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(on_cluster, "run_job", full)
    monkeypatch.setattr(on_cluster, "receive_files", lambda files, folder: None)
    job, actor = job_in(home(tmp_path, "here"), network(), tmp_path / "here" / "work"), JobActor()
    with pytest.raises(StoreFull) as refused:
        actor.run(
            job,
            running_code().whole(),
            [],
            [],
            "cpu",
        )
    actor.close()
    assert platform.node() in refused.value.where


def test_a_checkpoint_that_is_replaced_while_its_folder_is_read_is_not_missing_in_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1.json", "1.safetensors", "metrics.jsonl"):
        (tmp_path / name).touch()

    def replaced_first(path: Path, name: str) -> list[SentFile]:
        if not (tmp_path / "2.json").exists():
            for new in ("2.safetensors", "2.json", "metrics.jsonl"):
                (tmp_path / new).write_text("2")
            for old in ("1.json", "1.safetensors"):
                (tmp_path / old).unlink()
        return [SentFile(name, path.read_text(), [])]

    monkeypatch.setattr(on_cluster, "send_files", replaced_first)
    actor = JobActor()
    actor._work = tmp_path
    news = actor.news()
    assert news.names == {"2.json", "2.safetensors", "metrics.jsonl"}
    assert {file.name: file.sha256 for file in news.changed} == dict.fromkeys(news.names, "2")


def test_files_of_a_fit_arrive_in_an_order_that_keeps_them_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["bundle/spec.json", "checkpoints/00000007-good-ab12.safetensors", "metrics.jsonl"]
    files = [
        SentFile(name, hashlib.sha256(name.encode()).hexdigest(), [name.encode()]) for name in names
    ]
    arrived: list[bytes] = []
    ray = SimpleNamespace(get=lambda block: arrived.append(block) or block)
    monkeypatch.setitem(sys.modules, "ray", ray)
    receive_files(files, tmp_path)
    assert [block.decode() for block in arrived] == list(reversed(names))
    assert all((tmp_path / name).read_text(encoding="utf-8") == name for name in names)


def test_a_clock_runs_on_while_the_node_of_a_fit_is_lost(tmp_path: Path) -> None:
    job = job_in(home(tmp_path, "here"), network(), tmp_path / "here" / "work")
    assert on_cluster._with_less_time(job, 30) is job
    paced = replace(job, pace=Pace(100, after=20))
    assert on_cluster._with_less_time(paced, 30) == replace(job, pace=Pace(70, after=20))
    assert on_cluster._with_less_time(paced, 300) == replace(job, pace=Pace(0, after=20))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    if not is_installed():  # small_cluster imports it, after it has set Ray's variables
        pytest.skip(MISSING)
    with small_cluster(nodes=2) as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> LanguageModelJob:
    """The long fit, on this machine."""
    folder = tmp_path_factory.mktemp("undisturbed")
    job = job_in(home(folder, "here"), LONG, folder / "here" / "work")
    run_job(job, lambda news: None)
    return job


def digest(job: LanguageModelJob) -> str:
    return load_bundle(job.bundle).digest


def fits_of(raylet: int) -> list[psutil.Process]:
    """Return the processes that fit below the process of a node."""
    below = psutil.Process(raylet).children(recursive=True)
    with suppress(psutil.NoSuchProcess):
        return [one for one in below if "reviewlm.tasks.fitting.fit_worker" in one.cmdline()]
    return []


def raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def busy_node(cluster: Any) -> Any:
    return next((node for node in cluster.list_all_nodes() if fits_of(raylet(node))), None)


def has_begun(checkpoints: Iterable[Path]) -> bool:
    """Return whether one of the checkpoints is not that of the initial state."""
    return any(int(path.stem.split("-")[0]) > 1 for path in checkpoints)


def has_updates(node: Any) -> bool:
    """Return whether a process of the node has written such a checkpoint; no other job runs."""
    return bool(fits_of(raylet(node))) and has_begun(
        Path(gettempdir()).glob(f"{FOLDER}*/*/checkpoints/*.safetensors")
    )


@contextmanager
def halted(cluster: Any, job: LanguageModelJob) -> Iterator[Any]:
    """Halt the fit of a job after a first update and checkpoint, which is here too then; yield its node; go on."""
    node = until(lambda: next(filter(has_updates, cluster.list_all_nodes()), None), 120, pause=0.05)
    processes = fits_of(raylet(node))
    for process in processes:
        process.suspend()
    until(lambda: has_begun(job.work.glob("checkpoints/*.safetensors")), 120, pause=0.05)
    try:
        yield node
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@pytest.mark.slow
def test_a_fit_whose_node_is_lost_goes_on_elsewhere(
    cluster: Any,
    undisturbed: LanguageModelJob,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = home(tmp_path, "here", cluster=cluster.address)
    job = job_in(config, LONG, tmp_path / "here" / "work")
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}", "reviewlm", tmp_path / "artifacts")
    run_id = tracker.start_run("lost")

    def listen(news: object) -> None:
        if (job.work / "metrics.jsonl").exists():
            tracker.log_journal(run_id, job.work / "metrics.jsonl", settled=True)

    with ThreadPoolExecutor(1) as thread, caplog.at_level("INFO"):
        run = ClusterRun(config.execution)
        ends = thread.submit(run, job, listen)
        with halted(cluster, job) as node:
            cluster.remove_node(node, allow_graceful=False)
        ends.result(240)
    cluster.add_node(**NODE)
    assert "its node is lost" in caplog.text
    assert "training goes on after" in caplog.text
    assert digest(job) == digest(undisturbed)
    assert run.made_by["resources"] == {
        "device": "cpu",
        "ranks": 1,
        "threads": 1,
    }
    tracker.log_journal(run_id, job.work / "metrics.jsonl")
    client = open_client(tracker.uri)
    for name in client.get_run(run_id).data.metrics:
        steps = Counter(point.step for point in client.get_metric_history(run_id, name))
        assert max(steps.values()) == 1, name


@pytest.mark.slow
def test_a_process_that_is_killed_for_memory_ends_the_fit(cluster: Any, tmp_path: Path) -> None:
    config = home(tmp_path, "here", cluster=cluster.address)
    job = job_in(config, LONG, tmp_path / "here" / "work")
    with ThreadPoolExecutor(1) as thread:
        ends = thread.submit(ClusterRun(config.execution), job, lambda news: None)
        with halted(cluster, job) as node:
            for process in fits_of(raylet(node)):
                process.kill()
        with pytest.raises(RankFailed) as failed:
            ends.result(120)
    assert platform.node() in failed.value.where
    assert "memory" in failed.value.cause
    assert list(job.work.glob("checkpoints/*.safetensors")), "a rerun goes on from here"


@pytest.mark.slow
def test_a_fit_that_rays_memory_monitor_kills_each_time_is_given_up(
    cluster: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    node = cluster.add_node(**NODE | {"num_gpus": 2})  # the only one with room for two ranks
    config = home(tmp_path, "here", cluster=cluster.address)
    job = replace(job_in(config, LONG, tmp_path / "here" / "work"), ranks=2)
    try:
        with pytest.raises(OutOfMemory) as failed:
            ClusterRun(config.execution)(job, lambda news: None)
    finally:
        cluster.remove_node(node)
    assert "memory" in failed.value.cause


@pytest.mark.slow
def test_ranks_on_two_nodes_go_on_after_the_loss_of_one(
    cluster: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    here, there = (
        home(tmp_path, "here"),
        home(tmp_path, "there", cluster=cluster.address, device="cpu"),
    )
    alone = replace(job_in(here, LONG, tmp_path / "here" / "work"), ranks=2)
    run_job(alone, lambda news: None)
    job = replace(job_in(there, LONG, tmp_path / "there" / "work"), ranks=2)
    run = ClusterRun(there.execution)
    with ThreadPoolExecutor(1) as thread, caplog.at_level("INFO"):
        ends = thread.submit(run, job, lambda news: None)
        with halted(cluster, job) as node:
            assert sum(bool(fits_of(raylet(one))) for one in cluster.list_all_nodes()) == 2
            cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(**NODE)
        ends.result(240)
    assert "training goes on after" in caplog.text
    assert digest(job) == digest(alone)


@pytest.mark.slow
def test_a_fit_for_each_node_ends_on_nodes_with_a_free_place_only(
    cluster: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    config = home(tmp_path, "here", cluster=cluster.address)
    job = job_in(config, network(), tmp_path / "here" / "work")
    places = ClusterRun(config.execution).places(job)
    taken, free = places
    assert {one.node for one in places} == {
        node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")
    }
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(taken.node, soft=False)
    holder = ray.remote(JobActor).options(num_cpus=1, scheduling_strategy=strategy).remote()
    ray.get(holder.close.remote())  # once it has its place
    monkeypatch.setattr(on_cluster, "WAIT_POLLS", 8)
    with pytest.raises(NodeTaken):
        taken(job, lambda news: None)
    monkeypatch.undo()
    assert free(job, lambda news: None)["updates"] > 0
    ray.kill(holder)


@pytest.mark.slow
def test_a_gpu_that_refuses_ends_a_fit_whose_ranks_are_on_several_nodes(
    cluster: Any, tmp_path: Path
) -> None:
    config = home(tmp_path, "here", cluster=cluster.address)
    job = replace(job_in(config, network(), tmp_path / "here" / "work"), ranks=2)
    with pytest.raises(ConfigError) as refused:
        ClusterRun(config.execution)(job, lambda news: None)
    assert platform.node() in refused.value.where
    with pytest.raises(ConfigError) as refused:
        ClusterRun(config.execution)(replace(job, ranks=3), lambda news: None)
    assert refused.value.value == 3


@pytest.mark.slow
def test_slices_of_reviews_are_scored_on_nodes_to_the_bit_though_one_is_lost(
    cluster: Any,
    undisturbed: LanguageModelJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(score_slices, "LEAST_WORK", 1)  # a slice is one batch, of one review
    stream, bundle = TokenStream.open(undisturbed.validation), load_bundle(undisturbed.bundle)
    lost: list[Any] = []

    def lose(done: int, total: int) -> None:
        if not lost:
            lost.append(cluster.list_all_nodes()[-1])
            cluster.remove_node(lost[0], allow_graceful=False)
            cluster.add_node(**NODE)

    def written(folder: Path, elsewhere: Any = None) -> dict[str, bytes]:
        folder.mkdir()
        report = lose if elsewhere else lambda done, total: None
        score_stream(
            bundle,
            stream,
            folder,
            observed=[1, 3],
            tokens_per_batch=16,
            report=report,
            elsewhere=elsewhere,
        )
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    config, tokens = (
        home(tmp_path, "here", cluster=cluster.address),
        SimpleNamespace(facts={"tokens": stream.tokens}),
    )
    nodes = scored_on_nodes(config.execution, undisturbed.bundle, tokens)
    assert written(tmp_path / "there", nodes) == written(tmp_path / "alone")
    assert lost


class OtherCode(SourceCode):
    """Code that no node has."""

    def _whole(self) -> str:
        return "0" * 12


@pytest.mark.slow
def test_other_code_is_refused_through_the_cluster(
    cluster: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(on_cluster, "running_code", OtherCode)
    config = home(tmp_path, "here", cluster=cluster.address)
    job = job_in(config, network(), tmp_path / "here" / "work")
    with pytest.raises(ConfigError) as refused:
        ClusterRun(config.execution)(job, lambda news: None)
    assert refused.value.where == platform.node()
    assert refused.value.value == running_code().whole()
    assert not job.bundle.exists()


@pytest.mark.slow
def test_no_step_or_item_is_computed_by_other_code(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machinery, "running_code", OtherCode)
    engine = RayEngine(cluster.address)
    for computed in (
        engine.fetch(engine.submit(divmod, 7, 2, results=2)),
        engine.ordered(abs, [-1]),
    ):
        with pytest.raises(ConfigError) as refused:
            list(computed)
        assert refused.value.where == platform.node()


@pytest.mark.slow
def test_a_run_after_a_killed_one_goes_on_where_it_was(
    cluster: Any,
    undisturbed: LanguageModelJob,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = home(tmp_path, "here", cluster=cluster.address)
    job = job_in(config, LONG, tmp_path / "here" / "work")
    child = multiprocessing.get_context("spawn").Process(target=_run_quietly, args=(config, job))
    child.start()
    with halted(cluster, job):
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
    assert child.exitcode == -signal.SIGKILL
    until(lambda: busy_node(cluster) is None, 120, pause=0.05)
    with caplog.at_level("INFO"):
        ClusterRun(config.execution)(job, lambda news: None)
    assert "training goes on after" in caplog.text
    assert digest(job) == digest(undisturbed)


def _run_quietly(config: Any, job: LanguageModelJob) -> None:
    ClusterRun(config.execution)(job, lambda news: None)


class LosesNodes(RayEngine):
    """An engine that loses a node each time when this process has two values of one of some kinds."""

    def __init__(self, cluster: Any, *kinds: type, storage: str = "") -> None:
        super().__init__(cluster.address, storage)
        self._cluster = cluster
        self._kinds = kinds
        self.lost: list[Any] = []

    def fetch(self, references: Iterable[Any]) -> Iterator[Any]:
        """Lose a node after the first value."""
        for number, value in enumerate(super().fetch(references)):
            yield value
            if number == 1 and isinstance(value, self._kinds):
                self.lost.append(self._cluster.list_all_nodes()[-1])
                self._cluster.remove_node(self.lost[-1], allow_graceful=False)
                self._cluster.add_node(**NODE)


@pytest.mark.slow
def test_ngrams_are_counted_to_the_bit_though_nodes_with_partitions_are_lost(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray makes the partitions of a lost node again, from the text on."""
    monkeypatch.setattr(partitions, "LEAST_WINDOWS", 1 << 13)
    ids = np.minimum(np.random.default_rng(1).zipf(1.2, 90_000) + 3, 999).astype(np.uint16)
    ids[::30] = 1
    text: Any = SimpleNamespace(ids=ids, offsets=np.arange(0, len(ids) + 1, 30))
    spec = NGramSpec(order=5, min_documents=2)
    counts = count_ngrams(
        text,
        5,
        1_000,
        {1},
        min_documents=2,
    )
    here = fit_tables(counts, spec).tables.arrays()
    engine = LosesNodes(cluster, PartSums, list)  # sums of all partitions, half of the tables
    there = fit_partitions(
        text,
        text,
        spec,
        1_000,
        {1},
        engine,
    ).tables.arrays()
    assert len(engine.lost) == 2
    assert {name: array.tobytes() for name, array in there.items()} == {
        name: array.tobytes() for name, array in here.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True], ids=["nodes keep", "storage keeps"])
def test_reviews_are_prepared_to_the_bit_though_nodes_that_hold_them_are_lost(
    cluster: Any,
    shared: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ray cleans the parts of a lost node again, and sorts its slices again, unless a storage has them."""
    monkeypatch.setattr("reviewlm.tasks.execution.partitions.LEAST_BYTES", 0)
    write_reviews(tmp_path / "reviews.jsonl", 900, seed=1, duplicates=0.1)
    ingest([tmp_path / "reviews.jsonl"], tmp_path / "data", SourceConfig(part_rows=150))
    made = []
    storage = str(tmp_path) if shared else ""
    engine = LosesNodes(cluster, CleanCounts, SliceFacts, storage=storage)
    for name, runs in (("here", None), ("there", engine)):
        facts = prepare(
            tmp_path / "data",
            tmp_path / name,
            CleanConfig(),
            SplitConfig(),
            engine=runs,
        )
        made.append((facts, {one.name: one.read_bytes() for one in (tmp_path / name).iterdir()}))
    assert len(engine.lost) == 2
    assert made[0] == made[1]
    until(lambda: caplog.text.count("is lost; its work is done again") >= 2)
