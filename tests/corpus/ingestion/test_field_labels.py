"""Labels from a field of the files: the same from every format, found again by the place of the review."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from core.config.presets import load_config
from core.errors import MissingColumn, Unreadable
from corpus.ingestion.ingest import ingest, iter_parts
from corpus.ingestion.quarantine import read_labels
from corpus.reading.sources import identify, originals, source_names

ROWS = [
    {"review_id": "a", "text": "warm soup", "kind": "food"},
    {"review_id": "b", "text": "slow waiter", "kind": " service "},
    {"review_id": "c", "text": "no label", "kind": None},
    {"review_id": "d", "text": "an empty label", "kind": ""},
    {"review_id": "e", "text": "a number", "kind": "7"},
]


def write(rows: list[dict[str, object]], path: Path) -> Path:
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".csv":
            pl.DataFrame(rows).write_csv(path)
        case _:
            pl.DataFrame(rows).write_parquet(path)
    return path


def labels_of(folder: Path, *files: Path, field: str = "kind", settings: tuple[str, ...] = ()) -> dict[str, str]:
    config = load_config("demo", list(settings)).source
    ingest(files, folder, config)
    sources = [identify(path, name) for path, name in source_names(files).items()]
    labels = read_labels(list(originals(sources).values()), iter_parts(folder), config, field)
    assert labels["review_id"].to_list() == sorted(labels["review_id"])
    return dict(labels.iter_rows())


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_every_format_gives_the_same_labels_and_none_where_there_is_none(tmp_path: Path, ending: str) -> None:
    found = labels_of(tmp_path / "set", write(ROWS, tmp_path / f"mine.{ending}"))
    assert found == {"a": "food", "b": "service", "e": "7"}


def test_a_label_that_comes_late_in_a_file_is_found_and_one_that_never_comes_is_an_error(tmp_path: Path) -> None:
    early = [{"review_id": str(number), "text": f"text {number}"} for number in range(50)]
    file = write([*early, {"review_id": "late", "text": "late", "kind": "x"}], tmp_path / "mine.jsonl")
    assert labels_of(tmp_path / "set", file) == {"late": "x"}
    with pytest.raises(MissingColumn, match="There is no field 'kimd'"):
        labels_of(tmp_path / "again", file, field="kimd")


def test_another_text_at_the_place_of_a_review_is_an_error(tmp_path: Path) -> None:
    file, config = write(ROWS, tmp_path / "mine.jsonl"), load_config("demo").source
    ingest([file], tmp_path / "set", config)
    write([*ROWS[1:], ROWS[0]], file)
    with pytest.raises(Unreadable, match="does not hold the reviews") as caught:
        read_labels([identify(file, file.name)], iter_parts(tmp_path / "set"), config, "kind")
    assert "mine.jsonl, line 1" in str(caught.value.where)
