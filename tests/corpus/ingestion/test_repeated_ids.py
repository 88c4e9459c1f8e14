"""Equal ids of different people, restated months, edited reviews are told apart; what leaves is counted and named."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import InputError
from reviewlm.corpus.account import Account, Outcome
from reviewlm.corpus.ingestion.repeated_ids import find_repeats
from tests.corpus import data_sets
from tests.corpus.review_files import as_csv, ingested, json_lines
from tests.in_process_dataflow import InProcess

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KNOWN = ("review_id", "user_id", "business_id", "stars", "text", "date")


def review(
    number,
    person="",
    text="",
    **more,
):
    """A review; *person* tells its author, business and words."""
    who = person or "x"
    return {
        "review_id": str(number),
        "user_id": f"u-{who}-{number}",
        "business_id": f"b-{who}",
        "stars": 4,
        "text": text or f"Dish {number} was fine, says {who}.",
        "date": f"2023-05-{number % 28 + 1:02d} 10:00:00",
        **more,
    }


def cities(count=40):
    """Three exports that each number their reviews from 1."""
    names = ("bergen.csv", "lyon.csv", "porto.csv")
    return [
        (f"in/{name}", as_csv([review(n, name) for n in range(1, count + 1)])) for name in names
    ]


def account_of(facts):
    account = Account.from_dict(facts["account"])
    account.require_sum(facts["rows"])
    return account


def entries(account, outcome):
    return {
        (entry.file, entry.kind): entry.count
        for entry in account.entries
        if entry.outcome is outcome
    }


def test_ids_that_begin_again_in_each_file_are_refused_with_file_line_remedy(tmp_path):
    with pytest.raises(InputError) as caught:
        ingested(tmp_path, *cities())
    assert "bergen.csv" in caught.value.where
    assert "80 of 120" in caught.value.cause
    assert "source.ids=per_file" in caught.value.remedy


def test_ids_that_count_in_each_file_name_each_review(tmp_path):
    facts, rows, _ = ingested(tmp_path, *cities(), ids="per_file")
    assert rows.height == rows["review_id"].n_unique() == 120
    assert account_of(facts).used == 120
    assert "porto.csv:7" in rows["review_id"].to_list()


def test_an_id_in_its_file_stays_the_same_when_other_files_come(tmp_path):
    _, few, _ = ingested(tmp_path, *cities()[1:], ids="per_file", name="few")
    _, all_, _ = ingested(tmp_path, *cities(), ids="per_file", name="all")
    assert set(few["review_id"]) < set(all_["review_id"])


def test_few_ids_of_other_reviews_are_kept_under_new_ids(tmp_path):
    ours = [review(n) for n in range(200)]
    _, rows, bad = ingested(
        tmp_path,
        ("a.jsonl", json_lines(ours)),
        ("b.jsonl", json_lines([review(7, "someone else")])),
    )
    assert (rows.height, rows["review_id"].n_unique(), bad.height) == (201, 201, 0)


@pytest.mark.parametrize("files", [("a", "b"), ("b", "a")])
def test_a_review_keeps_its_id_whatever_file_the_other_review_is_in(tmp_path, files):
    ours = json_lines([review(n) for n in range(200)])
    other = json_lines([review(7, "someone else", date="2023-12-31 10:00:00")])
    names = dict(zip(files, (ours, other), strict=True))
    given = [(f"in/{name}.jsonl", content) for name, content in sorted(names.items())]
    _, rows, _ = ingested(tmp_path, *given)
    assert rows.filter(review_id="7")["user_id"].to_list() == ["u-x-7"]
    assert rows["review_id"].n_unique() == 201


def test_files_without_users_whose_ids_begin_again_are_refused(tmp_path):
    bare = [
        (f"{name}.csv", as_csv([{"review_id": n, "text": f"{name} {n}"} for n in range(40)]))
        for name in ("one", "two")
    ]
    with pytest.raises(InputError, match="40 of 80"):
        ingested(tmp_path, *bare)
    facts, rows, _ = ingested(tmp_path, *bare, ids="newest")
    assert rows.height == 40
    assert account_of(facts).count(Outcome.REPLACED) == 40


def test_a_business_with_another_id_makes_no_other_review(tmp_path):
    before = [review(n) for n in range(50)]
    after = [
        {
            **row,
            "business_id": "moved",
            "date": "2024-01-01",
        }
        for row in before
    ]
    facts, rows, _ = ingested(
        tmp_path, ("a.jsonl", json_lines(before)), ("b.jsonl", json_lines(after))
    )
    assert set(rows["business_id"]) == {"moved"}
    assert entries(account_of(facts), Outcome.REPLACED) == {("a.jsonl", "same text"): 50}


def restated(
    folder,
    name,
    again="2023-05.jsonl",
    order=(),
):
    """The account of a month and its restated form in one folder, and how many texts of the latter stay."""
    month = [review(n) for n in range(30)]
    corrected = [*month[:20], *(review(n, text=f"Corrected {n}.") for n in range(20, 30))]
    folder.mkdir(exist_ok=True)
    (folder / again).write_bytes(json_lines(month))
    (folder / name).write_bytes(json_lines(corrected))
    given = [folder / one for one in order] or [folder]
    facts, rows, _ = data_sets.ingested(given, folder.with_name("out"))
    return account_of(facts), rows["text"].str.starts_with("Corrected").sum()


@pytest.mark.parametrize(
    "name", ["2023-05_corrected.jsonl", "2023-05-v2.jsonl", "2023-05 (1).jsonl", "2023-05.2.jsonl"]
)
def test_of_a_folder_the_file_with_the_longer_name_restates_the_other(tmp_path, name):
    account, corrected = restated(tmp_path / "in", name)
    assert corrected == 10
    assert account.count(Outcome.COPY) == 20
    [tie] = [entry for entry in account.odd if entry.outcome is Outcome.REPLACED]
    assert (tie.count, tie.file) == (10, "2023-05.jsonl")
    assert name in tie.sentence


@pytest.mark.parametrize(
    ("order", "corrected"), [(["a.jsonl", "b.jsonl"], 10), (["b.jsonl", "a.jsonl"], 0)]
)
def test_of_named_files_the_one_named_last_is_read_later(
    tmp_path,
    order,
    corrected,
):
    account, stay = restated(tmp_path / "in", "b.jsonl", "a.jsonl", order)
    assert stay == corrected
    [tie] = [entry for entry in account.odd if entry.outcome is Outcome.REPLACED]
    assert (tie.file, tie.count) == (order[0], 10)
    assert order[1] in tie.sentence


def test_edited_reviews_are_counted_apart_from_those_with_the_same_text(tmp_path):
    old = [review(n) for n in range(6)]
    new = [
        *(review(n, stars=1, date="2024-01-01") for n in range(2)),
        *(review(n, text="Edited.", date="2024-01-01") for n in range(2, 5)),
        review(5),
    ]
    facts, rows, _ = ingested(tmp_path, ("a.jsonl", json_lines(old)), ("b.jsonl", json_lines(new)))
    account = account_of(facts)
    assert entries(account, Outcome.REPLACED) == {
        ("a.jsonl", "same text"): 2,
        ("a.jsonl", "other text"): 3,
    }
    assert entries(account, Outcome.COPY) == {("a.jsonl", "same record"): 1}
    assert not account.odd
    assert set(rows.columns) >= set(KNOWN)


def test_a_copy_of_a_file_is_counted_as_copies_under_its_name(tmp_path):
    content = json_lines([review(n) for n in range(5)])
    facts, _, _ = ingested(tmp_path, ("in/a.jsonl", content), ("in/a (1).jsonl", content))
    assert entries(account_of(facts), Outcome.COPY) == {("a (1).jsonl", "copy of a file"): 5}


def one_id(count=60, ids=1):
    """A file whose column of ids has few values."""
    rows = [{"review_id": f"app{n % ids}", "text": f"Dish {n} was fine."} for n in range(count)]
    return ("in/r.csv", as_csv(rows))


@pytest.mark.parametrize("ids", [1, 7, 40])
def test_a_field_that_names_no_reviews_is_refused_with_the_way_out(tmp_path, ids):
    with pytest.raises(InputError) as caught:
        ingested(tmp_path, one_id(ids=ids))
    assert caught.value.where == "r.csv"
    assert f"{60 - ids} of 60" in caught.value.cause
    assert "source.fields.review_id=" in caught.value.remedy

    facts, rows, _ = ingested(tmp_path, one_id(ids=ids), fields={"review_id": ""})
    assert (rows.height, account_of(facts).used) == (60, 60)


@pytest.mark.parametrize("settings", [{"ids": "newest"}, {"max_replaced": 1}])
def test_a_log_of_edited_reviews_is_read_if_a_setting_says_so(tmp_path, settings):
    facts, rows, _ = ingested(tmp_path, one_id(ids=7), **settings)
    assert rows.height == 7
    assert account_of(facts).count(Outcome.REPLACED) == 53


def test_a_tenth_of_edited_reviews_in_a_file_is_no_error(tmp_path):
    rows = [review(n) for n in range(90)]
    rows += [review(n, text=f"Edited {n}.", date="2024-01-01") for n in range(10)]
    facts, _, _ = ingested(tmp_path, ("r.jsonl", json_lines(rows)))
    assert account_of(facts).count(Outcome.REPLACED) == 10


def test_a_month_whose_every_text_is_corrected_in_another_file_is_no_error(tmp_path):
    before = [review(n) for n in range(50)]
    after = [review(n, text=f"Corrected {n}.") for n in range(50)]
    facts, _, _ = ingested(
        tmp_path, ("a.jsonl", json_lines(before)), ("b.jsonl", json_lines(after))
    )
    assert account_of(facts).count(Outcome.REPLACED) == 50


@pytest.mark.parametrize("repeats", [30, 0])
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_find_the_repeated_ids_that_threads_find(
    tmp_path,
    repeats,
    workers,
):
    rows = [review(n) for n in range(200)]
    rows += [review(n, text=f"Edited {n}.") for n in range(repeats)]
    rows += [review(n, "someone else") for n in range(0, repeats, 3)]
    table = pl.DataFrame(rows).with_columns(pl.col("date").str.to_datetime())
    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    third = -(-table.height // 3)
    for number, path in enumerate(paths):
        table[number * third : (number + 1) * third].write_parquet(path)

    ends = [third, table.height]
    here = find_repeats(paths, ends)
    there = find_repeats(paths, ends, engine=InProcess(workers))
    assert bool(here) == bool(repeats)
    for name, values in vars(here).items():
        assert np.array_equal(values, getattr(there, name)), name


@pytest.mark.parametrize("sees", [True, False], ids=["seen", "sent"])
def test_workers_write_the_parts_that_one_machine_writes(
    tmp_path,
    monkeypatch,
    sees,
):
    monkeypatch.setattr(InProcess, "sees", lambda engine, path: sees)
    rows = [review(n) for n in range(120)]
    (tmp_path / "a.jsonl").write_bytes(json_lines([*rows, *rows[:9]]))
    (tmp_path / "b.jsonl").write_bytes(json_lines([review(n, text="Edited.") for n in range(5)]))
    (tmp_path / "c.jsonl").write_bytes(json_lines([review(n) for n in range(200, 260)]))
    made = []
    for name, engine in (("here", None), ("there", InProcess(2))):
        folder = tmp_path / name
        facts = data_sets.ingest(
            sorted(tmp_path.glob("*.jsonl")),
            folder,
            SourceConfig(part_rows=40),
            now=NOW,
            engine=engine,
        )
        files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        made.append((facts, files))
    assert made[0][0]["duplicates"] == 14
    assert made[0] == made[1]
