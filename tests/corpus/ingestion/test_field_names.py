"""Fields under other names, labels from fields, and one content in every format."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import EmptyInput, MissingColumn, Unreadable
from reviewlm.corpus.ingestion.ingest import iter_parts
from reviewlm.corpus.ingestion.labels_of_fields import read_labels
from reviewlm.corpus.ingestion.look_before import require_usable
from reviewlm.corpus.reading.sources import identify, originals, source_names
from reviewlm.corpus.schema import COLUMNS
from tests.corpus.data_sets import ingest
from tests.corpus.review_files import FILES, REVIEWS, ingested, json_lines

THEIRS = [
    {
        "id": f"r{number}",
        "body": f"the soup number {number} was warm",
        "rating": number % 5 + 1,
        "text": "a headline",
        "when": "2020-01-02",
    }
    for number in range(7)
]
OURS = [
    {
        "review_id": row["id"],
        "text": row["body"],
        "stars": row["rating"],
        "date": row["when"],
    }
    for row in THEIRS
]
NAMED = [
    f"source.fields.{ours}={theirs}"
    for ours, theirs in {
        "text": "body",
        "review_id": "id",
        "stars": "rating",
        "date": "when",
    }.items()
]
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
def test_a_file_with_other_names_gives_the_same_table_as_one_with_our_names(
    tmp_path: Path, ending: str
) -> None:
    theirs = read(write(THEIRS, tmp_path / f"theirs.{ending}"), NAMED)
    ours = read(write(OURS, tmp_path / f"ours.{ending}"), [])

    assert theirs.equals(ours)
    assert theirs["text"][0] == "the soup number 0 was warm"


@pytest.mark.parametrize(
    ("ours", "theirs"), [("stars", "ratign"), ("text", "bdoy")], ids=["stars", "a file with text"]
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_misspelt_name_is_refused_before_a_run_with_the_fields_that_exist(
    tmp_path: Path,
    ending: str,
    ours: str,
    theirs: str,
) -> None:
    file = write(THEIRS, tmp_path / f"a.{ending}")
    config = load_config("demo", ["source.fields.text=body", f"source.fields.{ours}={theirs}"])

    with pytest.raises(MissingColumn, match=f"a field '{theirs}'|no field '{theirs}'") as refused:
        require_usable([file], config.source)

    assert f"source.fields.{ours}" in str(refused.value)


def test_a_file_with_our_names_is_read_beside_one_with_the_names_of_the_user(
    tmp_path: Path,
) -> None:
    files = [write(THEIRS, tmp_path / "theirs.csv"), write(OURS, tmp_path / "ours.parquet")]
    require_usable(files, load_config("demo", NAMED).source)
    assert read(files[1], NAMED).drop("line").equals(read(files[0], NAMED).drop("line"))


ROWS = [
    {
        "review_id": "a",
        "text": "warm soup",
        "kind": "food",
    },
    {
        "review_id": "b",
        "text": "slow waiter",
        "kind": " service ",
    },
    {
        "review_id": "c",
        "text": "no label",
        "kind": None,
    },
    {
        "review_id": "d",
        "text": "an empty label",
        "kind": "",
    },
    {
        "review_id": "e",
        "text": "a number",
        "kind": "7",
    },
]


def labels_of(
    folder: Path,
    *files: Path,
    field: str = "kind",
    settings: tuple[str, ...] = (),
) -> dict[str, str]:
    config = load_config("demo", list(settings)).source
    ingest(files, folder, config)
    sources = [identify(path, name) for path, name in source_names(files).items()]
    labels = read_labels(list(originals(sources).values()), iter_parts(folder), config, field)
    assert labels["review_id"].to_list() == sorted(labels["review_id"])
    return dict(labels.iter_rows())


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_every_format_gives_the_same_labels(tmp_path: Path, ending: str) -> None:
    found = labels_of(tmp_path / "set", write(ROWS, tmp_path / f"mine.{ending}"))
    assert found == {
        "a": "food",
        "b": "service",
        "e": "7",
    }


@pytest.fixture
def late_label(tmp_path: Path) -> Path:
    """A file in which only the last of many records has a label."""
    early = [{"review_id": str(number), "text": f"text {number}"} for number in range(50)]
    late = {
        "review_id": "late",
        "text": "late",
        "kind": "x",
    }
    return write([*early, late], tmp_path / "mine.jsonl")


def test_a_label_that_comes_late_in_a_file_is_found(late_label: Path, tmp_path: Path) -> None:
    assert labels_of(tmp_path / "set", late_label) == {"late": "x"}


def test_a_label_that_never_comes_is_an_error(late_label: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingColumn, match="There is no field 'kimd'"):
        labels_of(tmp_path / "set", late_label, field="kimd")


def test_another_text_at_the_place_of_a_review_is_an_error(tmp_path: Path) -> None:
    file, config = write(ROWS, tmp_path / "mine.jsonl"), load_config("demo").source
    ingest([file], tmp_path / "set", config)
    write([*ROWS[1:], ROWS[0]], file)
    with pytest.raises(Unreadable, match="does not hold the reviews") as caught:
        read_labels([identify(file, file.name)], iter_parts(tmp_path / "set"), config, "kind")
    assert "mine.jsonl, line 1" in str(caught.value.where)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return ingested(tmp_path_factory.mktemp("expected"), ("reviews.jsonl", json_lines()))


def test_the_table_holds_what_the_records_say(expected):
    facts, frame, quarantine = expected
    assert frame.schema == pl.Schema(COLUMNS)
    fields = list(REVIEWS[0])
    assert (
        frame.select(fields)
        .with_columns(pl.col("date").dt.to_string("%Y-%m-%d %H:%M:%S"))
        .to_dicts()
        == REVIEWS
    )
    assert frame["line"].to_list() == list(range(1, 301))
    assert frame["source"].unique().to_list() == ["reviews.jsonl"]
    assert quarantine.is_empty()
    assert (facts["rows"], facts["records"], facts["quarantined"], facts["duplicates"]) == (
        300,
        300,
        0,
        0,
    )
    assert facts["bytes"] == sum(len(row["text"].encode()) for row in REVIEWS)
    dates = sorted(row["date"].replace(" ", "T") for row in REVIEWS)
    assert (facts["date_min"], facts["date_max"]) == (dates[0], dates[-1])


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_content(
    tmp_path,
    expected,
    name,
):
    facts, frame, _ = ingested(tmp_path, (name, FILES[name]))
    fields = list(REVIEWS[0])
    assert frame.select(fields).equals(expected[1].select(fields))
    assert facts["content_sha256"] == expected[0]["content_sha256"]


def test_missing_files_are_named(tmp_path):
    with pytest.raises(Unreadable, match=r"nowhere\.json"):
        source_names([tmp_path / "nowhere.json"])


def test_a_pattern_without_files_is_an_error(tmp_path):
    with pytest.raises(Unreadable, match="No file matches"):
        source_names([tmp_path / "*.json"])


def test_no_input_is_an_error():
    with pytest.raises(EmptyInput, match="No input"):
        source_names([])
