"""Fields with other names: `source.fields` makes every format the same table as if the file had our names."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from core.config.presets import load_config
from core.errors import MissingColumn
from corpus.ingestion.ingest import ingest, iter_parts
from corpus.ingestion.quarantine import require_usable

THEIRS = [
    {"id": f"r{number}", "body": f"the soup number {number} was warm", "rating": number % 5 + 1, "text": "a headline",
     "helpful": number, "when": "2020-01-02"}
    for number in range(7)
]
OURS = [
    {"review_id": row["id"], "text": row["body"], "stars": row["rating"], "useful": row["helpful"], "date": row["when"]}
    for row in THEIRS
]
NAMED = [f"source.fields.{ours}={theirs}" for ours, theirs in {
    "text": "body", "review_id": "id", "stars": "rating", "useful": "helpful", "date": "when",
}.items()]
ENDINGS = ("jsonl", "json", "csv", "parquet")


def write(rows: list[dict[str, object]], path: Path) -> Path:
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".json":
            path.write_text(json.dumps(rows))
        case ".csv":
            pl.DataFrame(rows).write_csv(path)
        case _:
            pl.DataFrame(rows).write_parquet(path)
    return path


def read(file: Path, settings: list[str]) -> pl.DataFrame:
    folder = file.with_name(f"{file.name}-read")
    ingest([file], folder, load_config("demo", settings).source)
    return pl.concat(iter_parts(folder)).drop("source")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_with_other_names_gives_the_same_table_as_one_with_our_names(tmp_path: Path, ending: str) -> None:
    theirs = read(write(THEIRS, tmp_path / f"theirs.{ending}"), NAMED)
    ours = read(write(OURS, tmp_path / f"ours.{ending}"), [])

    assert theirs.equals(ours)
    assert theirs["text"][0] == "the soup number 0 was warm"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_misspelt_name_is_refused_before_a_run_with_the_fields_that_exist(tmp_path: Path, ending: str) -> None:
    file = write(THEIRS, tmp_path / f"a.{ending}")
    config = load_config("demo", ["source.fields.text=body", "source.fields.stars=ratign"])

    with pytest.raises(MissingColumn, match="no field 'ratign'") as refused:
        require_usable([file], config.source)

    assert "rating" in str(refused.value)
    assert "source.fields.stars=NAME" in str(refused.value)
