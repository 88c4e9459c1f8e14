"""Reading, cleaning, near-duplicates, words, tokens and scores: the same bytes, whoever does the parts."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core.config.run_config import RunConfig
from core.config.sections.execution import ExecutionConfig
from core.config.sections.source import SourceConfig
from core.errors import ReviewLMError, Unreadable
from core.store import Artifact, Store
from core.storing.removal import WORK
from corpus.duplicates import minhash
from corpus.ingestion.ingest import read_source
from corpus.ingestion.parts import READING_FILE, SourceReading
from corpus.reading.sources import Source
from corpus.synthetic.synth import write_reviews
from models.bundles.bundle import save_bundle
from models.specs import NGramSpec, VocabularySpec
from models.streams import TokenStream
from models.tokens.vocabulary import Vocabulary
from tasks.data import read as reading
from tasks.data.ingest import ingest_files
from tasks.data.prepare import VOCABULARY_FILE, clean_and_split, tokenize, train_vocabulary
from tasks.evaluation.evaluate import score_bundle
from tasks.fan_out import fan_out
from tests.marked_cases import long_but
from training.context import FitContext
from training.fit import fit_model

UNITS = ["word", "bpe", "unigram", "char"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files; some of their reviews are repeated."""
    folder = tmp_path_factory.mktemp("reviews")
    for number in range(4):
        write_reviews(folder / f"{number}.jsonl", 150, seed=number, malformed=0.02, duplicates=0.1, workers=1)
    return folder


def prepared(config: RunConfig, unit: str) -> list[Artifact]:
    """Read, clean and encode the files, score a model; return what was stored."""
    def stored(task: Any, *arguments: Any) -> Artifact:
        result = task.fn(*arguments)
        return result if isinstance(result, Artifact) else result.data

    dataset = stored(ingest_files, config)
    clean = stored(clean_and_split, config, dataset)
    vocabulary = stored(train_vocabulary, config, unit, clean)
    file = str(vocabulary.folder / VOCABULARY_FILE)
    train, test = (stored(tokenize, config, file, split, clean) for split in ("train", "test"))
    spec, words = NGramSpec(order=2), Vocabulary.load(Path(file))
    streams = [TokenStream.open(one.folder) for one in (train, test)]
    bundle = config.home / "bundle"
    save_bundle(bundle, spec, words, fit_model(spec, words, *streams, FitContext(config.home)).model, [], {})
    scores = score_bundle(config, bundle, test, "of the bigram").artifact
    return [dataset, clean, vocabulary, train, test, scores]


@pytest.fixture
def config_of(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunConfig]:
    def make(engine: str, **settings: Any) -> RunConfig:
        monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path / engine))
        execution = ExecutionConfig(engine=engine, threads=2, **settings)
        vocabulary = {unit: VocabularySpec(unit=unit, size=400, min_count=1) for unit in UNITS}
        return RunConfig(source=SourceConfig(input=(str(files),)), execution=execution, vocabulary=vocabulary)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("unit", long_but(UNITS, {"bpe"}))
def test_two_workers_give_the_same_bytes_as_threads_and_leave_no_file(
    config_of: Callable[..., RunConfig], unit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("prefect_dask", reason="Dask is not installed: pip install -c constraints.txt -e '.[dask]'")
    from distributed import LocalCluster

    by_threads = prepared(config_of("threads"), unit)
    monkeypatch.setattr(minhash, "STRETCH_BYTES", 20_000)  # several stretches
    monkeypatch.setattr(reading, "read_source", only_what_is_read)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0, silence_logs=50
    ) as cluster:
        found = prepared(config_of("dask", dask_address=cluster.scheduler_address), unit)
    assert [one.digest for one in found] == [one.digest for one in by_threads]
    for one, other in zip(found, by_threads, strict=True):
        assert one.manifest["files"] == other.manifest["files"], one.stage
    assert by_threads[1].facts["duplicates"]
    readings, same = (
        {one.digest: one.manifest["files"] for one in Store(tmp_path / name / "store").all("read")}
        for name in ("dask", "threads")
    )
    assert readings == same
    assert len(readings) == 4
    assert by_threads[0].facts["quarantined"]
    work = tmp_path / "dask" / "store" / WORK
    assert [path.name for path in work.iterdir() if path.suffix != ".lock"] == []


def only_what_is_read(source: Source, folder: Path, *rest: Any) -> SourceReading:
    """Be the reading of this process, which has nothing to do where workers read."""
    assert (folder / READING_FILE).exists(), "a worker should have read this file"
    return read_source(source, folder, *rest)


@pytest.mark.slow
def test_a_damaged_file_is_set_aside_whoever_reads_it(
    config_of: Callable[..., RunConfig], files: Path, tmp_path: Path
) -> None:
    pytest.importorskip("prefect_dask", reason="Dask is not installed: pip install -c constraints.txt -e '.[dask]'")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.jsonl").write_bytes((files / "0.jsonl").read_bytes())
    (tmp_path / "in" / "1.jsonl.gz").write_bytes(gzip.compress((files / "1.jsonl").read_bytes())[:-2_000])
    source, told, readings = SourceConfig(input=(str(tmp_path / "in"),)), [], []
    for engine in ("threads", "dask"):
        config = config_of(engine).model_copy(update={"source": source})
        with pytest.raises(Unreadable) as failed:
            ingest_files.fn(config)
        told.append(str(failed.value))
        readings.append({one.facts["name"]: one.manifest["files"] for one in Store(config.home / "store").all("read")})
    assert told[0] == told[1]
    assert readings[0] == readings[1]
    assert set(readings[0]) == {"0.jsonl", "1.jsonl.gz"}


@pytest.mark.slow
def test_an_error_of_the_work_is_not_mistaken_for_one_of_the_cluster(
    config_of: Callable[..., RunConfig], tmp_path: Path
) -> None:
    pytest.importorskip("prefect_dask", reason="Dask is not installed: pip install -c constraints.txt -e '.[dask]'")
    with fan_out(config_of("dask"), tmp_path) as engine, pytest.raises(TypeError, match="unsupported operand"):
        list(engine(partial(divmod, 1), ["no number"]))


def test_a_cluster_that_does_not_answer_is_named(
    config_of: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("prefect_dask", reason="Dask is not installed: pip install -c constraints.txt -e '.[dask]'")
    monkeypatch.setattr("tasks.dask_engine.CONNECT_SECONDS", 1)
    config = config_of("dask", dask_address="tcp://127.0.0.1:9")
    with pytest.raises(ReviewLMError, match=r"tcp://127\.0\.0\.1:9"), fan_out(config, tmp_path):
        pass
