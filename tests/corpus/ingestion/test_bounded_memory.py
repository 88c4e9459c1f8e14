"""Memory of an ingestion is bounded, whatever a file holds."""

import orjson
import polars as pl
import pytest

from core.config.sections.source import SourceConfig
from corpus.ingestion.ingest import PartWriter, ingest


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
