"""A killed ingestion goes on where it stopped, and ends in the same bytes as one that was not killed."""

import hashlib
import random
from pathlib import Path

import orjson
import polars as pl
import pytest

from core.config.sections.source import SourceConfig
from corpus.ingestion import build_dataset, parts
from corpus.ingestion.ingest import PartWriter, ingest
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

    for module in ("corpus.ingestion.ingest", "corpus.ingestion.ingest", "corpus.ingestion.build_dataset"):
        monkeypatch.setattr(f"{module}.write_whole", write)


@pytest.mark.parametrize("stars", ["five", 5])
def test_neither_bad_records_nor_long_texts_pile_up_until_a_part_is_full(tmp_path, monkeypatch, stars):
    monkeypatch.setattr("corpus.ingestion.ingest.BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr("corpus.ingestion.ingest.BAD_BYTES", 1 << 18)
    monkeypatch.setattr("corpus.ingestion.ingest.PART_BYTES", 1 << 18)
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
