"""Shards and items on a Ray cluster: the same bits as in one process, and errors of the work are those of the work."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from reviewlm.core import store
from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import ClusterFailed, ConfigError
from reviewlm.corpus.splitting.split import TABLE
from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.models.dataflow import FilePiece
from reviewlm.models.specs import NGramSpec
from reviewlm.models.streams import DOCUMENTS, IDS
from reviewlm.tasks.data import ingest, read_on_nodes
from reviewlm.tasks.data.ingest import ingest_files
from reviewlm.tasks.data.prepare import VOCABULARY_FILE, clean_and_split, tokenize, train_vocabulary
from reviewlm.tasks.execution import cluster as machinery
from reviewlm.tasks.execution import partitions as partitions_in
from reviewlm.tasks.execution.cluster import RayEngine, is_installed, require_cluster
from reviewlm.training.ngram.counting import memory
from reviewlm.training.ngram.counting.counts import count_ngrams, unseen_share
from reviewlm.training.ngram.fitting import fit_tables
from reviewlm.training.ngram.partitions import fitting as partitions
from reviewlm.training.ngram.partitions.fitting import fit_partitions
from reviewlm.training.ngram.smoothing import by_context
from tests.core.waiting import until
from tests.s3_server import BUCKET, SECRET, s3_server
from tests.small_cluster import MISSING, small_cluster


@pytest.fixture(scope="module")
def engine() -> Iterator[RayEngine]:
    if not is_installed():
        pytest.skip(MISSING)
    with small_cluster(nodes=0, head=2) as cluster:
        yield RayEngine(cluster.address)


def test_without_ray_a_cluster_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reviewlm.core.extras.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"\.\[ray\]"):
        require_cluster(load_config("demo", ["execution.cluster=local"]).execution)


class NoRay:
    """A module `ray` whose start fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str, **options: Any) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("address", "error", "kind"),
    [
        ("local", RuntimeError("The node did not start in time"), ClusterFailed),
        ("auto", ConnectionError("no cluster was found"), ClusterFailed),
        ("127.0.0.1:1", AssertionError, ClusterFailed),
        ("no-such-host.invalid:6379", AssertionError, ConfigError),
        ("127.0.0.1:99999", AssertionError, ConfigError),
    ],
)
def test_a_schedule_can_tell_a_cluster_to_try_again_from_a_wrong_setting(
    address: str,
    error: Any,
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machinery, "require_library", lambda *words, **more: None)
    monkeypatch.setitem(sys.modules, "ray", NoRay(error))  # type: ignore[arg-type]
    with patch.dict(os.environ), pytest.raises((ClusterFailed, ConfigError)) as raised:
        machinery.connect(address)
    assert raised.type is kind


def test_a_local_cluster_is_started_again_where_a_busy_machine_was_too_slow_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A raylet gives up after 15 s if its agents have not answered."""
    attempts: list[str] = []

    def init() -> None:
        attempts.append("")
        if len(attempts) < machinery.STARTS:
            raise RuntimeError("The current node timed out during startup")

    monkeypatch.setattr(machinery.interrupts, "at_interrupt", lambda act: None)
    machinery._start_local(init)
    assert len(attempts) == machinery.STARTS
    assert len(caplog.records) == machinery.STARTS - 1


def test_a_process_ends_only_if_the_head_of_its_cluster_stays_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, ended = iter([True, False, True, *[False] * machinery.HEAD_FAILURES]), list[int]()

    def connection(place: tuple[str, int], timeout: float) -> Any:
        if not next(answers):
            raise ConnectionRefusedError
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(machinery.socket, "create_connection", connection)
    monkeypatch.setattr(machinery.interrupts, "end_run", lambda line, code: ended.append(code))
    machinery._end_without_head(("head", 6379), lambda: True, pause=0)
    assert ended == [ClusterFailed.exit_code]
    assert next(answers, None) is None


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 1 << 40], ids=["in memory", "in files"])
def test_tables_made_by_workers_are_bit_equal_to_those_of_one_process(
    engine: RayEngine,
    limit: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "MOST_WINDOWS", 1 << 14)  # several shards
    monkeypatch.setattr(by_context, "NGRAMS", 1 << 14)
    ids = np.minimum(np.random.default_rng(1).zipf(1.2, 60_000) + 2, 999).astype(np.int32)
    ids[::30] = 1
    text: Any = SimpleNamespace(ids=ids, offsets=np.append(np.arange(0, len(ids), 30), len(ids)))

    def tables(does: Any) -> dict[str, np.ndarray]:
        counts = count_ngrams(
            text,
            4,
            1_000,
            {1, 3},
            memory.ArrayAllocator.within(limit),
            engine=does,
        )
        return fit_tables(counts, NGramSpec(order=4), engine=does).tables.arrays()

    here, there = tables(None), tables(engine)
    assert here.keys() == there.keys()
    assert all(here[name].tobytes() == there[name].tobytes() for name in here)


@pytest.mark.slow
def test_what_nodes_say_of_their_end_is_only_logged(
    engine: RayEngine,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ray would write the last lines of the node's log to standard output, where results stand."""
    caplog.set_level(logging.DEBUG, machinery.__name__)
    utils: Any = importlib.import_module("ray._private.utils")
    client = importlib.import_module("ray._private.worker").global_worker.gcs_client
    utils.publish_error_to_driver("raylet_died", "[state-dump] of the node", client)
    until(lambda: "[state-dump] of the node" in caplog.text)
    assert "state-dump" not in capfd.readouterr().out
    assert max(record.levelno for record in caplog.records) < logging.WARNING


def test_an_error_of_the_work_is_not_mistaken_for_one_of_the_cluster(engine: RayEngine) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        list(engine.ordered(partial(divmod, 1), [1, "no number"]))


def write_three_files(folder: Path) -> Path:
    """Write two files of reviews and one that cannot be read, which is set aside; return their folder."""
    folder.mkdir()
    write_reviews(
        folder / "first.jsonl",
        200,
        seed=1,
        duplicates=0.1,
        malformed=0.05,
    )
    write_reviews(folder / "second.jsonl", 100, seed=2)
    (folder / "none.jsonl").write_bytes(b"\x00\xff" * 100)
    return folder


def prepare_all(
    source: Path,
    address: str = "",
    storage: str = "",
) -> list[Any]:
    """Return the results from reading to token blocks, made on a cluster if an address is given."""
    sets = [
        f"execution.cluster={address}",
        f"execution.storage={storage}",
        "execution.threads=2",
        f"source.input=['{source}']",
        "source.max_unreadable=0.9",
    ]
    config = load_config("demo", sets)
    workspace = config.workspace
    dataset = stored(ingest_files, config)
    clean = stored(clean_and_split, config, dataset)
    name, spec = next(iter(config.vocabulary.items()))
    words = stored(
        train_vocabulary,
        workspace,
        name,
        spec,
        config.clean,
        clean,
    )
    file = str(words.folder / VOCABULARY_FILE)
    tokens = stored(
        tokenize,
        workspace,
        file,
        "train",
        clean,
    )
    return [dataset, clean, words, tokens]


def stored(task: Any, *arguments: Any) -> Any:
    """Call a stage without Prefect; return its result in the store."""
    result = task.fn(*arguments)
    return getattr(result, "data", result)


@dataclass
class OwnWork:
    """What this process has done itself: names of files that it parsed or hashed, and paths that it read or sent.

    Attributes:
        kept: Number of files in each folder of partitions when it was removed.
    """

    parsed: list[str] = field(default_factory=list)
    read: list[Path] = field(default_factory=list)
    hashed: list[str] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)


@pytest.fixture
def own_work(monkeypatch: pytest.MonkeyPatch) -> OwnWork:
    """A record of the work of this process; every result, however small, goes into partitions."""
    own = OwnWork()

    def noted(
        place: Any,
        name: str,
        notes: list[Any],
        about: Callable[[Any], Any],
    ) -> None:
        call = getattr(place, name)

        def noting(first: Any, *others: Any) -> Any:
            notes.append(about(first))
            return call(first, *others)

        monkeypatch.setattr(place, name, noting)

    noted(ingest, "read_source", own.parsed, lambda source: source.name)
    noted(read_on_nodes, "send_files", own.read, lambda path: path)
    noted(FilePiece, "read", own.read, lambda piece: piece.path)
    noted(store, "sha256_of", own.hashed, lambda path: path.name)
    noted(machinery, "remove_folder", own.kept, lambda folder: len(os.listdir(folder.path)))
    monkeypatch.setattr(partitions_in, "LEAST_BYTES", 0)
    return own


@pytest.mark.slow
def test_prepared_data_are_the_same_bytes_whoever_makes_them(
    engine: RayEngine,
    own_work: OwnWork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write_three_files(tmp_path / "reviews")
    storage = tmp_path / "storage"
    storage.mkdir()
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path / "here"))
    here = prepare_all(source)
    for number, place in enumerate(("", str(storage), str(tmp_path))):
        own_work.read.clear()
        own_work.hashed.clear()
        monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path / f"cluster-{number}"))
        for one, other in zip(here, prepare_all(source, engine.address, place), strict=True):
            assert one.digest == other.digest, one.stage
            assert one.manifest["files"] == other.manifest["files"], one.stage

    of_nodes = own_work.parsed[3:]
    assert of_nodes == ["none.jsonl"] * 3, "a file was read by this process instead of a node"
    assert own_work.read == [], "this process has read a file that the nodes see"
    large = {TABLE, IDS, DOCUMENTS, "part-00000.parquet"}
    assert large.isdisjoint(own_work.hashed), "this process has read a file that a node has written"
    assert min(own_work.kept) > 2, "a stage has kept no partition in the storage"
    gc.collect()  # a folder goes with its engine
    assert list(storage.iterdir()) == []


@pytest.mark.slow
def test_workers_read_and_write_partitions_in_a_bucket(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions_in, "LEAST_BYTES", 0)
    arrays = [np.arange(1_000, dtype=np.int32) * number for number in range(3)]
    with s3_server() as address:
        server = f"scheme=http&region=us-east-1&endpoint_override={address.removeprefix('http://')}"
        through = RayEngine(engine.address, f"s3://an-id:{SECRET}@{BUCKET}?{server}")
        left = through.submit(np.split, through.put(arrays[1]), 2, results=2)
        assert np.concatenate(list(through.fetch(left))).tolist() == arrays[1].tolist()
        for here, there in zip(
            map(np.cumsum, arrays), through.ordered(np.cumsum, arrays), strict=True
        ):
            assert here.tobytes() == there.tobytes()
            assert here.dtype == there.dtype


def zipf_text(tokens: int, seed: int) -> Any:
    """Return documents of 30 tokens that begin with the given tokens 1 and 3."""
    ids = np.minimum(np.random.default_rng(seed).zipf(1.2, tokens) + 3, 999).astype(np.uint16)
    ids[::30] = 1
    ids[1::30] = 3
    return SimpleNamespace(ids=ids, offsets=np.append(np.arange(0, tokens, 30), tokens))


@pytest.mark.slow
def test_a_fit_in_partitions_on_workers_has_the_bits_of_one_in_this_process(
    engine: RayEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LEAST_WINDOWS", 1 << 12)
    text, held_out, spec = zipf_text(60_000, 1), zipf_text(6_000, 2), NGramSpec(order=4)
    here = fit_tables(count_ngrams(text, 4, 1_000, {1, 3}), spec).tables.arrays()
    there = fit_partitions(
        text,
        held_out,
        spec,
        1_000,
        {1, 3},
        engine,
    )
    assert {name: array.tobytes() for name, array in there.tables.arrays().items()} == {
        name: array.tobytes() for name, array in here.items()
    }
    assert there.unseen == unseen_share(count_ngrams(text, 4, 1_000, {1, 3}), held_out)
