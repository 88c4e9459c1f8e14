"""N-gram fits on a Dask cluster: the same tables to the bit, and a sentence where the cluster breaks down."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.base import ModelError
from models.ngram.tables import Tables
from models.specs import NGramSpec
from tasks import dask_engine as machinery
from tasks.dask_engine import DaskEngine, dask_engine, pickled
from training.ngram.counting import memory
from training.ngram.counting.counts import count_ngrams
from training.ngram.fitting import fit_tables
from training.ngram.smoothing import by_context

pytest.importorskip("prefect_dask", reason="Dask is not installed: pip install -c constraints.txt -e '.[dask]'")

V = 16
WORD = st.sampled_from([0, 9, 9, 10, 11, 15])
DOCUMENT = st.lists(WORD, max_size=12).map(lambda words: [3, *words, 2])
ON_ONE_CLUSTER = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", memory_limit=0,
        silence_logs=50,
    ) as found:
        yield found


@pytest.fixture
def engine(cluster: Any, tmp_path: Path) -> Iterator[DaskEngine]:
    with dask_engine(cluster.scheduler_address, 0, tmp_path) as found:
        yield found


def text_of(documents: list[list[int]]) -> Any:
    ids = np.array([token for document in documents for token in document], np.int32)
    return SimpleNamespace(ids=ids, offsets=np.cumsum([0, *map(len, documents)]))


def zipf(tokens: int, vocabulary: int) -> Any:
    ids = np.minimum(np.random.default_rng(1).zipf(1.2, tokens) + 2, vocabulary - 1).astype(np.int32)
    ids[::30] = 1
    return SimpleNamespace(ids=ids, offsets=np.append(np.arange(0, tokens, 30), tokens))


def tables(
    text: Any, spec: NGramSpec, size: int, prune: Any = (), pieces: int = 0, does: Any = None, limit: int | None = None,
    least: int = 1,
) -> Tables:  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        if pieces:
            patch.setattr(memory, "MOST_WINDOWS", pieces)
            patch.setattr(by_context, "NGRAMS", pieces)
        counts = count_ngrams(text, spec.order, size, {1, 3}, limit, engine=does, min_documents=least)
        return fit_tables(counts, spec, prune, engine=does).tables


def same(one: Tables, other: Tables) -> bool:
    left, right = one.arrays(), other.arrays()
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and left[name].tobytes() == right[name].tobytes() for name in left
    )


@pytest.mark.long
@ON_ONE_CLUSTER
@given(
    documents=st.lists(DOCUMENT, max_size=15), order=st.integers(1, 4), pieces=st.sampled_from([3, 8, 40]),
    smoothing=st.sampled_from(["modified_kneser_ney", "kneser_ney", "witten_bell"]), threshold=st.integers(0, 1),
    least=st.integers(1, 3),
)  # fmt: skip
def test_tables_made_by_two_workers_are_bit_equal_to_those_of_one_process(
    documents, order, pieces, smoothing, threshold, least, engine
):
    spec, prune = NGramSpec(order=order, smoothing=smoothing), (0, threshold)[:order]
    alone = tables(text_of(documents), spec, V, prune, least=least)
    assert same(alone, tables(text_of(documents), spec, V, prune, pieces, engine, least=least))


@pytest.mark.long
@pytest.mark.parametrize("least", [1, 2, 3])
@pytest.mark.parametrize("limit", [None, 1 << 40], ids=["in memory", "in files"])
def test_a_text_of_many_shards_is_fitted_to_the_same_bits(limit, least, engine):
    text, spec = zipf(200_000, 5_000), NGramSpec(order=5)
    alone = tables(text, spec, 5_000, least=least)
    assert same(alone, tables(text, spec, 5_000, pieces=1 << 13, does=engine, limit=limit, least=least))


@pytest.mark.long
def test_both_workers_do_shards_and_the_process_that_fits_does_none(engine):
    found: dict[int, int] = {}
    engine.each(_whose, found.__setitem__, 20)
    assert sorted(found) == list(range(20))
    assert set(found.values()) == set(engine.client.run(os.getpid).values())


def _whose(shard: int) -> int:
    time.sleep(0.02)
    return os.getpid()


@pytest.mark.long
def test_arrays_travel_as_paths_and_their_files_go_when_nobody_refers_to_them(engine):
    array = np.arange(100_000)
    shared = engine.share(array)
    for given_array in (shared, array):  # what nobody has shared is shared for the time of the step
        found: dict[int, int] = {}
        assert len(pickled(partial(_sum, given_array), engine)[0]) < 1_000
        engine.each(partial(_sum, given_array), found.__setitem__, 3)
        assert found == dict.fromkeys(range(3), array.sum())
        assert list(engine.folder.glob("*.npy")) == [Path(engine.path(shared))]
    with pytest.raises(ValueError, match="read-only"):
        shared[0] = 1
    del shared
    assert not list(engine.folder.glob("*.npy"))


def _sum(array: np.ndarray, shard: int) -> int:
    return int(array.sum())


class Killing:
    """An engine that kills a worker when the first shard has come back."""

    def __init__(self, engine: DaskEngine) -> None:
        self.engine, self.victim = engine, next(iter(engine.client.run(os.getpid).values()))
        self.share = engine.share

    def each(self, work: Callable[[int], Any], place: Callable[[int, Any], None], shards: int) -> None:
        def placed(shard: int, result: Any) -> None:
            place(shard, result)
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(self.victim).kill()

        self.engine.each(work, placed, shards)


@pytest.mark.long
def test_when_a_worker_is_killed_in_the_middle_others_do_its_shards_and_the_tables_are_the_same(engine):
    text, spec = zipf(50_000, 2_000), NGramSpec(order=3)
    killing = Killing(engine)
    assert same(tables(text, spec, 2_000), tables(text, spec, 2_000, pieces=1 << 11, does=killing))
    assert ended(killing.victim)


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _die(array: np.ndarray, shard: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return shard


@pytest.mark.long
def test_a_shard_that_kills_its_workers_ends_the_fit_with_a_sentence_and_a_rerun_works(cluster, tmp_path):
    cluster.scheduler.allowed_failures = 0
    placed: list[int] = []
    with (
        pytest.raises(ModelError, match=r"a shard ended 1 Dask workers.*run again"),
        dask_engine(cluster.scheduler_address, 0, tmp_path) as engine,
    ):
        engine.each(partial(_die, engine.share(np.arange(9))), lambda shard, result: placed.append(shard), 2)
    assert (placed, list(tmp_path.iterdir())) == ([], [])
    cluster.scheduler.allowed_failures = 3
    text, spec = zipf(10_000, 500), NGramSpec(order=3)
    with dask_engine(cluster.scheduler_address, 0, tmp_path) as engine:
        assert same(tables(text, spec, 500), tables(text, spec, 500, pieces=1 << 11, does=engine))


def test_a_scheduler_that_does_not_answer_is_an_error_that_says_how_to_start_one(tmp_path, monkeypatch):
    monkeypatch.setattr(machinery, "CONNECT_SECONDS", 1)
    with (
        pytest.raises(ModelError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9: .*`dask scheduler`"),
        dask_engine("tcp://127.0.0.1:9", 0, tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_workers_the_fit_is_given_up_after_a_while(tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(machinery, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(machinery, "_LOOK_SECONDS", 0.2)
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50) as empty,
        dask_engine(empty.scheduler_address, 0, tmp_path) as engine,
        pytest.raises(ModelError, match=r"no Dask worker has connected.*dask worker tcp://"),
    ):
        tables(zipf(1_000, 100), NGramSpec(order=2), 100, does=engine)


def test_where_dask_is_not_installed_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(machinery, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"constraints.txt -e '\.\[dask\]'"), dask_engine("", 1, tmp_path):
        pass


@pytest.mark.long
def test_a_cluster_of_this_machine_takes_work_from_this_process_alone(tmp_path: Path) -> None:
    """Whoever may send it a step may run code as its owner: another user of the machine could."""
    with dask_engine("", 1, tmp_path) as own:
        assert own.client.scheduler.address.startswith("tls://127.0.0.1:")
        assert own.client.security.tls_client_key, "a key that this process made"
