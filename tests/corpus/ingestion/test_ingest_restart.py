"""A killed ingestion goes on where it stopped, and ends in the same bytes as one that was not killed."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import polars as pl
import pytest

from core.config.sections.source import SourceConfig
from corpus.ingestion import build_dataset, parts
from corpus.ingestion.build_dataset import DATASET_FILE
from corpus.ingestion.ingest import ingest, iter_parts
from corpus.ingestion.part_writer import PartWriter
from tests.marked_cases import long_but

ROOT = Path(__file__).resolve().parents[3]
CONFIG = SourceConfig(part_rows=40)


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Two files with bad lines, repeated ids and records without an id; blocks and parts do not end together."""
    monkeypatch.setattr("corpus.ingestion.ingest.BLOCK_BYTES", 3000)
    draw = random.Random(5)
    lines = []
    for number in range(700):
        stars = draw.choice([1, 5, "five"]) if number % 9 == 0 else 4
        record = {"review_id": f"r{draw.randrange(600)}", "stars": stars, "text": f"text {draw.randrange(300)}",
                  "date": f"20{draw.randrange(10, 20)}-01-01"}
        if number % 11 == 0:
            del record["review_id"]
        lines.append(orjson.dumps(record) if number % 50 else b"{broken")
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines[:400]))
    (tmp_path / "b.jsonl").write_bytes(b"\n".join(lines[400:]))
    return [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class Killed(BaseException):
    """Not an Exception, like the end of a process: no handler may tidy up after it."""


def killed_after(monkeypatch, writes):
    """Let the process "die" at its n-th write, leaving a half-written temporary file behind."""
    count = 0
    whole = parts.write_whole

    def write(path, content):
        nonlocal count
        count += 1
        if count > writes:
            path.with_name(path.name + ".tmp").write_bytes(content[: len(content) // 2])
            raise Killed
        whole(path, content)

    for module in ("corpus.ingestion.ingest", "corpus.ingestion.part_writer", "corpus.ingestion.build_dataset"):
        monkeypatch.setattr(f"{module}.write_whole", write)


def resumed_after_kills(inputs, tmp_path, monkeypatch, every):
    """Kill runs after 0, *every*, 2 × *every* … writes and resume each; yield its facts and the digest of its files.

    *every* is no multiple of a part's three writes, so that all kinds of writes are met.
    """
    for writes in range(0, 200, every):
        folder = tmp_path / f"killed{writes}"
        with monkeypatch.context() as patch:
            killed_after(patch, writes)
            try:
                ingest(inputs, folder, CONFIG)
                return
            except Killed:
                assert not (folder / DATASET_FILE).exists()
        yield ingest(inputs, folder, CONFIG), digest(folder)
    pytest.fail("the ingestion writes more often than the test expects")


@pytest.mark.long
def test_a_run_killed_at_any_write_ends_in_the_same_bytes(inputs, tmp_path, monkeypatch):
    facts = ingest(inputs, tmp_path / "whole", CONFIG)
    assert facts["records"] == 700
    assert facts["parts"] > 10
    assert min(facts["duplicates"], facts["quarantined"]) > 10
    resumed = list(resumed_after_kills(inputs, tmp_path, monkeypatch, 5))
    assert len(resumed) > 5
    assert all(one == (facts, digest(tmp_path / "whole")) for one in resumed)


@pytest.mark.parametrize("every", long_but([5, 38], {38}))
@pytest.mark.slow
def test_a_killed_run_that_spilt_bad_records_ends_in_the_same_bytes(inputs, tmp_path, monkeypatch, every):
    monkeypatch.setattr("corpus.ingestion.part_writer.BAD_BYTES", 300)
    monkeypatch.setattr("corpus.ingestion.part_writer.PART_BYTES", 4000)
    facts = ingest(inputs, tmp_path / "whole", CONFIG)
    assert facts["records"] == 700
    assert facts["parts"] > 10
    assert min(facts["duplicates"], facts["quarantined"]) > 10
    resumed = list(resumed_after_kills(inputs, tmp_path, monkeypatch, every))
    assert len(resumed) > 1
    assert all(one == (facts, digest(tmp_path / "whole")) for one in resumed)
    assert max(part.height for part in iter_parts(tmp_path / "whole")) < CONFIG.part_rows


@pytest.mark.parametrize("stars", ["five", 5])
def test_neither_bad_records_nor_long_texts_pile_up_until_a_part_is_full(tmp_path, monkeypatch, stars):
    monkeypatch.setattr("corpus.ingestion.ingest.BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr("corpus.ingestion.part_writer.BAD_BYTES", 1 << 18)
    monkeypatch.setattr("corpus.ingestion.part_writer.PART_BYTES", 1 << 18)
    records = [{"review_id": f"r{n}", "text": "long " * 1000, "stars": stars} for n in range(400)]
    lines = [orjson.dumps(record) for record in [*records, {"review_id": "last", "text": "good"}]]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    held = []
    whole = PartWriter.add

    def add(self, block):
        whole(self, block)
        held.append(sum(frame.height for frame in [*self.good, *self.bad]))

    monkeypatch.setattr(PartWriter, "add", add)
    facts = ingest([tmp_path / "a.jsonl"], tmp_path / "out", SourceConfig())
    assert facts["records"] == 401
    assert (facts["rows"], facts["quarantined"]) == ((1, 400) if stars == "five" else (401, 0))
    assert pl.read_parquet(tmp_path / "out" / "quarantine.parquet")["line"].to_list() == (
        list(range(1, 401)) if stars == "five" else []
    )
    assert 10 < max(held) < 80


@pytest.mark.parametrize("damage", long_but(["cut off", "changed", "gone", "place"], ["changed", "gone"]))
@pytest.mark.slow
def test_a_finished_part_that_a_loss_of_power_spoilt_is_written_again(inputs, tmp_path, monkeypatch, damage):
    ingest(inputs, tmp_path / "whole", CONFIG)
    with monkeypatch.context() as patch:
        killed_after(patch, 20)
        with pytest.raises(Killed):
            ingest(inputs, tmp_path / "out", CONFIG)
    part = sorted((tmp_path / "out").glob("readings/*/parts/*.parquet"))[1]
    raw = bytearray(part.read_bytes())
    raw[len(raw) // 2] ^= 1
    if damage == "gone":
        part.unlink()
    elif damage == "place":
        sorted((tmp_path / "out").glob("readings/*/journal/part-*.json"))[1].write_bytes(b"")
    else:
        part.write_bytes(b"" if damage == "cut off" else raw)
    ingest(inputs, tmp_path / "out", CONFIG)
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")


def test_finished_parts_are_not_read_again(inputs, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        killed_after(patch, 20)
        with pytest.raises(Killed):
            ingest(inputs, tmp_path / "out", CONFIG)
    finished = {path.stem for path in (tmp_path / "out").glob("readings/*/journal/part-*.json")}
    written = [path for path in (tmp_path / "out").glob("readings/*/parts/*.parquet") if path.stem in finished]
    before = {path: path.stat().st_ino for path in written}
    assert len(before) > 3
    kept = {}
    original = build_dataset.assemble
    monkeypatch.setattr("corpus.ingestion.ingest.assemble", lambda folder, sources, readings: (
        kept.update({path: path.stat().st_ino for path in before}), original(folder, sources, readings))[1])
    ingest(inputs, tmp_path / "out", CONFIG)
    assert kept == before


@pytest.mark.slow
def test_a_finished_folder_is_only_looked_at(inputs, tmp_path, monkeypatch):
    facts = ingest(inputs, tmp_path / "out", CONFIG)
    monkeypatch.setattr("corpus.ingestion.ingest.read", lambda *rest: pytest.fail("it was read again"))
    assert ingest(inputs, tmp_path / "out", CONFIG) == facts


@pytest.mark.slow
def test_other_inputs_or_settings_start_afresh(inputs, tmp_path):
    ingest(inputs, tmp_path / "out", CONFIG)
    fewer = ingest(inputs[:1], tmp_path / "out", CONFIG)
    assert fewer["records"] == 400
    assert sum(part.height for part in iter_parts(tmp_path / "out")) == fewer["rows"]
    assert ingest(inputs[:1], tmp_path / "out", SourceConfig(part_rows=1000))["parts"] == 1


def without_parts(facts):
    sources = [{**source, "parts": 0} for source in facts["sources"]]
    return {**facts, "parts": 0, "settings": {}, "sources": sources}


@pytest.mark.long
@pytest.mark.parametrize("part_rows", long_but([3, 40, 10_000], {40}))
def test_the_size_of_parts_changes_no_row(inputs, tmp_path, part_rows):
    facts = ingest(inputs, tmp_path / "out", SourceConfig(part_rows=part_rows))
    other = ingest(inputs, tmp_path / "other", CONFIG)
    assert pl.concat(iter_parts(tmp_path / "out")).equals(pl.concat(iter_parts(tmp_path / "other")))
    assert without_parts(facts) == without_parts(other)
    rows = [part.height for part in iter_parts(tmp_path / "out")]
    assert max(rows) <= part_rows


@pytest.mark.long
def test_processes_killed_at_random_moments_end_in_the_same_bytes(inputs, tmp_path):
    program = (
        "import sys; from pathlib import Path; import corpus.ingestion.ingest as i\n"
        "from core.config.run_config import SourceConfig\n"
        "i.BLOCK_BYTES = 3000\n"
        "i.ingest(sys.argv[2:], Path(sys.argv[1]), SourceConfig(part_rows=40))"
    )
    ingest(inputs, tmp_path / "whole", CONFIG)
    folder = tmp_path / "out"
    command = [sys.executable, "-c", program, str(folder), *map(str, inputs)]
    draw = random.Random(3)
    for _ in range(4):
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        deadline = time.time() + 20
        wanted = draw.randrange(1, 12)
        while process.poll() is None and time.time() < deadline:
            if len(list(folder.glob("readings/*/journal/part-*.json"))) >= wanted:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert digest(folder) == digest(tmp_path / "whole")
