"""Labels from a field of the files: the same from every format, found again by the place of the review."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import polars as pl
import pytest

from core.config.presets import load_config
from core.errors import MissingColumn, Unreadable
from corpus.ingestion.first_look import require_usable
from corpus.ingestion.ingest import ingest, iter_parts
from corpus.ingestion.labels import read_labels
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
    found = read_labels(list(originals(sources).values()), iter_parts(folder), config, field)
    assert found.table["review_id"].to_list() == sorted(found.table["review_id"])
    assert found.unplaced == 0
    return dict(found.table.iter_rows())


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_every_format_gives_the_same_labels_and_none_where_there_is_none(tmp_path: Path, ending: str) -> None:
    found = labels_of(tmp_path / "set", write(ROWS, tmp_path / f"mine.{ending}"))
    assert found == {"a": "food", "b": "service", "e": "7"}


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_numbers_and_truth_values_are_labels_too(tmp_path: Path, ending: str) -> None:
    rows = [{"review_id": name, "text": f"text {name}", "n": n, "t": n > 1} for name, n in (("a", 1), ("b", 2))]
    file = write(rows, tmp_path / f"mine.{ending}")
    assert labels_of(tmp_path / "n", file, field="n") == {"a": "1", "b": "2"}
    assert labels_of(tmp_path / "t", file, field="t") == {"a": "false", "b": "true"}


def test_records_without_an_id_and_with_equal_texts_keep_each_its_own_label(tmp_path: Path) -> None:
    rows = [{"text": "good", "kind": "food"}, {"text": "good", "kind": "service"}, {"text": "bad", "kind": "food"}]
    found = labels_of(tmp_path / "set", write(rows, tmp_path / "mine.jsonl"))
    texts = {row["review_id"]: row["text"] for part in iter_parts(tmp_path / "set") for row in part.to_dicts()}
    assert sorted((texts[name], label) for name, label in found.items()) == [
        ("bad", "food"), ("good", "food"), ("good", "service")
    ]  # fmt: skip


def test_of_a_repeated_id_the_label_is_that_of_the_record_that_is_kept(tmp_path: Path) -> None:
    dated = [
        {"review_id": "a", "text": "new", "date": "2020-01-02", "kind": "new"},
        {"review_id": "a", "text": "old", "date": "2020-01-01", "kind": "old"},
    ]
    assert labels_of(tmp_path / "set", write(dated, tmp_path / "mine.jsonl")) == {"a": "new"}


def test_a_field_that_has_a_meaning_of_its_own_can_be_the_label(tmp_path: Path) -> None:
    rows = [{"id": "a", "body": "warm", "stars": 5, "useful": 1}, {"id": "b", "body": "cold", "stars": 1, "useful": 0}]
    file = write(rows, tmp_path / "mine.csv")
    named = ("source.fields.text=body", "source.fields.review_id=id")
    assert labels_of(tmp_path / "one", file, field="useful", settings=named) == {"a": "1", "b": "0"}
    assert labels_of(tmp_path / "two", file, field="stars", settings=named) == {"a": "5", "b": "1"}


def test_a_field_called_label_is_read_only_if_it_is_asked_for(tmp_path: Path) -> None:
    rows = [{"review_id": "a", "text": "warm", "kind": "food", "label": "spam"},
            {"review_id": "b", "text": "cold", "label": "spam"}]  # fmt: skip
    file = write(rows, tmp_path / "mine.jsonl")
    assert labels_of(tmp_path / "kind", file) == {"a": "food"}
    assert labels_of(tmp_path / "label", file, field="label") == {"a": "spam", "b": "spam"}
    other = write([{"review_id": "a", "text": "warm", "label": "spam"}], tmp_path / "other.csv")
    with pytest.raises(MissingColumn, match="There is no field 'kind'"):
        labels_of(tmp_path / "csv", other)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_whole_number_with_gaps_is_the_same_label_in_every_format(tmp_path: Path, ending: str) -> None:
    rows = [{"review_id": name, "text": f"text {name}", "n": n} for name, n in (("a", 4.0), ("b", None), ("c", 2.5))]
    file = write(rows, tmp_path / f"mine.{ending}")
    assert labels_of(tmp_path / "set", file, field="n") == {"a": "4", "c": "2.5"}


def test_a_gap_that_pandas_wrote_as_not_a_number_is_no_label(tmp_path: Path) -> None:
    frame = pl.DataFrame({"review_id": ["a", "b"], "text": ["warm", "cold"], "n": [1.0, float("nan")]})
    frame.write_parquet(tmp_path / "mine.parquet")
    assert labels_of(tmp_path / "set", tmp_path / "mine.parquet", field="n") == {"a": "1"}


def test_lists_and_objects_are_no_labels(tmp_path: Path) -> None:
    rows = [{"review_id": "a", "text": "warm", "kind": ["x", "y"]}, {"review_id": "b", "text": "cold", "kind": "x"}]
    file, config = write(rows, tmp_path / "mine.jsonl"), load_config("demo").source
    ingest([file], tmp_path / "set", config)
    found = read_labels([identify(file, file.name)], iter_parts(tmp_path / "set"), config, "kind")
    assert (found.table.rows(), found.unplaced) == ([("b", "x")], 1)
    table = write(rows[:1], tmp_path / "mine.parquet")
    with pytest.raises(Unreadable, match="holds lists or objects"):
        labels_of(tmp_path / "table", table)


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


def test_members_of_an_archive_and_copies_of_a_file_keep_their_labels(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as packed:
        for name, row in (("review_a.jsonl", ROWS[0]), ("review_b.jsonl", ROWS[1])):
            packed.writestr(name, json.dumps(row) + "\n")
    copy = tmp_path / "mine (1).zip"
    copy.write_bytes((tmp_path / "mine.zip").read_bytes())
    assert labels_of(tmp_path / "set", tmp_path / "mine.zip", copy) == {"a": "food", "b": "service"}


def test_a_field_that_no_file_has_is_refused_at_the_first_look(tmp_path: Path) -> None:
    file, config = write(ROWS, tmp_path / "mine.csv"), load_config("demo").source
    require_usable([file], config, "kind")
    with pytest.raises(MissingColumn, match="There is no field 'kimd'") as caught:
        require_usable([file], config, "kimd")
    assert "--set classification.label=NAME" in caught.value.remedy


def test_a_file_that_has_changed_since_gives_no_labels(tmp_path: Path) -> None:
    file, config = write(ROWS, tmp_path / "mine.jsonl"), load_config("demo").source
    source = identify(file, file.name)
    file.write_text(file.read_text() + json.dumps({"review_id": "f", "text": "more", "kind": "x"}) + "\n")
    with pytest.raises(Unreadable, match="changed"):
        read_labels([source], iter([]), config, "kind")
