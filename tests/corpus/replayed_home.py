"""Files that are read, and whose quarantined records are replayed."""

import json

import polars as pl

from core.config.sections.source import SourceConfig
from corpus.ingestion.ingest import iter_parts, limits_of, read_source
from corpus.ingestion.replay import assemble_with, replay, replays_of
from corpus.reading.sources import identify

STRICT = SourceConfig(max_chars=50, part_rows=4)


class Home:
    """Files that are read, made to a data set, replayed and made to a data set again."""

    def __init__(self, folder, config=STRICT):
        self.folder, self.config = folder, config
        self.sources, self.readings = [], {}

    def add(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        source = identify(path, name)
        self.sources.append(source)
        self.readings[source.key] = read_source(source, self.folder / f"read-{name}", self.config)
        return source

    def replay(self, config=STRICT, fixed=None):
        paths = {source.key: source.path for source in self.sources}
        limits = limits_of(config)
        return replay(self.sources, self.readings, self.folder / "replays", limits, fixed, paths)

    def data_set(self, name="out"):
        replays = {digest: replays_of(self.folder / "replays", one) for digest, one in self.readings.items()}
        facts = assemble_with(self.folder / name, self.sources, self.readings, replays)
        assert facts["records"] == facts["rows"] + facts["quarantined"] + facts["duplicates"]
        for source in facts["sources"]:
            assert source["records"] == source["rows"] + source["quarantined"] + source["duplicates"]
        frame = pl.concat(iter_parts(self.folder / name))
        assert frame.height == facts["rows"]
        return facts, frame, pl.read_parquet(self.folder / name / "quarantine.parquet")


def fixed_file(folder, *raws):
    """A file of corrected records of a.jsonl, from its second line on."""
    rows = [json.dumps({"source": "a.jsonl", "line": number, "raw": raw}) for number, raw in enumerate(raws, 2)]
    (folder / "fixed.jsonl").write_text("\n".join(rows))
    return folder / "fixed.jsonl"
