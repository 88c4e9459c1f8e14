"""What looks odd in a file is named with the file: order of dates, stand-ins, names of fields, missing files."""

import os
import socket

import polars as pl
import pytest

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import Unreadable
from reviewlm.corpus.account import Account, Outcome
from reviewlm.corpus.reading.dates import count_orders
from reviewlm.corpus.reading.sources import find_files, identify
from tests.corpus.data_sets import ingest
from tests.corpus.review_files import as_csv, in_formats, ingested, json_lines, packed_zip

FORMATS = list(in_formats([{"text": "a"}]))


def reviews(count=20, **fields):
    """Reviews with these fields; a function of the number gives a field's value."""
    return [
        {
            "review_id": f"r{n}",
            "text": f"Dish {n}.",
            **{k: f(n) for k, f in fields.items()},
        }
        for n in range(count)
    ]


def odd(facts):
    account = Account.from_dict(facts["account"])
    account.require_sum(facts["rows"])
    return {(entry.file, entry.title): entry.count for entry in account.odd}


def american(n):
    return f"{n % 12 + 1:02d}-{n % 28 + 1:02d}-2023"


@pytest.mark.parametrize("name", FORMATS)
def test_dates_of_a_file_are_month_first_if_one_shows_it(tmp_path, name):
    content = in_formats(reviews(40, date=american))[name]
    facts, rows, bad = ingested(tmp_path, (name, content))
    assert bad.is_empty()
    assert [(date.month, date.day) for date in rows["date"]] == [
        (n % 12 + 1, n % 28 + 1) for n in range(40)
    ]
    assert [kind for _, kind in odd(facts)] == ["month first"]


@pytest.mark.parametrize("sign", "-/.")
def test_a_date_is_the_same_with_each_sign_between_its_numbers(tmp_path, sign):
    rows = reviews(31, date=lambda n: f"{n + 1}{sign}5{sign}2023")
    assert ingested(tmp_path, ("r.csv", as_csv(rows)))[1]["date"].dt.day().to_list() == list(
        range(1, 32)
    )


def test_dates_in_both_orders_are_refused_with_both_numbers(tmp_path):
    rows = reviews(4, date=lambda n: ["31-05-2023", "05-31-2023", "01-02-2023", "30-05-2023"][n])
    with pytest.raises(Unreadable) as caught:
        ingested(tmp_path, ("r.csv", as_csv(rows)))
    assert "2 can only have the day first" in str(caught.value)
    assert "1 only the month" in str(caught.value)
    _, read, bad = ingested(tmp_path, ("r.csv", as_csv(rows)), date_order="day")
    assert (read.height, bad["reason"].to_list()) == (3, ["bad_date"])


def days(*dates):
    """More than a hundred small files, one date in each; those not given fit both orders."""
    every = [*dates, *[f"01-{n % 12 + 1:02d}-2023" for n in range(120 - len(dates))]]
    return [
        (
            f"in/{n:03d}.json",
            json_lines(
                [
                    {
                        "review_id": f"r{n}",
                        "text": f"Dish {n}.",
                        "date": date,
                    }
                ]
            ),
        )
        for n, date in enumerate(every)
    ]


def test_many_small_files_have_one_order_of_dates_that_any_of_them_shows(tmp_path):
    facts, rows, bad = ingested(tmp_path, *days("05-31-2023"))
    assert bad.is_empty()
    assert set(rows["date"].dt.month()) == {1, 5}
    assert [kind for _, kind in odd(facts)] == ["month first"]


def test_many_small_files_with_two_orders_of_dates_are_refused(tmp_path):
    with pytest.raises(Unreadable, match=r"small files.*two orders"):
        ingested(tmp_path, *days("05-31-2023", "31-05-2023"))


@pytest.mark.parametrize(
    ("order", "months"), [("auto", {1}), ("day", {1}), ("month", set(range(1, 13)))]
)
def test_dates_that_fit_both_orders_are_told_unless_the_order_was_given(
    tmp_path,
    order,
    months,
):
    rows = reviews(24, date=lambda n: f"{n % 12 + 1:02d}-01-2023")
    facts, read, _ = ingested(tmp_path, ("r.csv", as_csv(rows)), date_order=order)
    assert set(read["date"].dt.month()) == months
    assert [kind for _, kind in odd(facts)] == (["day or month"] if order == "auto" else [])


def test_each_member_of_an_archive_has_its_own_order(tmp_path):
    members = {
        "lyon.csv": as_csv(reviews(20, date=lambda n: f"{n + 1}-05-2023")),
        "boston.csv": as_csv(
            [{**row, "review_id": f"b{n}"} for n, row in enumerate(reviews(20, date=american))]
        ),
    }
    _, rows, bad = ingested(tmp_path, ("all.zip", packed_zip(members)))
    assert bad.is_empty()
    assert set(rows.filter(source="all.zip:lyon.csv")["date"].dt.month()) == {5}
    assert rows.filter(source="all.zip:boston.csv")["date"].dt.month().n_unique() == 12


def test_a_date_with_two_equal_numbers_shows_no_order():
    assert count_orders(pl.Series(["05-05-2023", "2023-01-31", None, "13-13-2023"])) == {}
    assert count_orders(pl.Series(["13-05-2023", "05-13-2023", "05-06-2023"])) == {
        "day": 1,
        "month": 1,
        "either": 1,
    }


STAND_INS = [
    "0000-00-00",
    "0000-00-00 00:00:00",
    "1970-01-01",
    "1970-01-01T00:00:00Z",
    "0",
    "9999-12-31 23:59:59",
    "0001-01-01",
    "NaT",
    "nan",
    "None",
    "NULL",
    "N/A",
]


@pytest.mark.parametrize("name", FORMATS)
def test_a_stand_in_for_an_unknown_date_costs_no_review(tmp_path, name):
    rows = reviews(len(STAND_INS) + 8, date=lambda n: [*STAND_INS, *["2023-05-01"] * 8][n])
    facts, read, bad = ingested(tmp_path, (name, in_formats(rows)[name]))
    assert (bad.height, read["date"].null_count()) == (0, len(STAND_INS))
    assert list(odd(facts).values()) == [len(STAND_INS)]


def test_words_for_none_stay_in_texts_of_reviews(tmp_path):
    rows = [
        {
            "review_id": w,
            "user_id": w,
            "text": w,
        }
        for w in ("None", "null", "nan", "N/A")
    ]
    _, read, _ = ingested(tmp_path, ("r.csv", as_csv(rows)))
    assert read["text"].to_list() == read["user_id"].to_list() == ["None", "null", "nan", "N/A"]


@pytest.mark.parametrize("name", FORMATS)
def test_an_id_that_a_spreadsheet_took_for_a_formula_is_unknown(tmp_path, name):
    rows = [
        {
            "review_id": "#NAME?",
            "user_id": f"u{n}",
            "business_id": "b",
            "text": f"Dish {n}.",
        }
        for n in range(5)
    ]
    facts, read, _ = ingested(tmp_path, (name, in_formats(rows)[name]))
    assert read["review_id"].n_unique() == 5
    assert [kind for _, kind in odd(facts)] == ["unknown value (review_id)"]


def test_nan_in_json_is_null_outside_strings(tmp_path):
    line = b'{"review_id": "a", "stars": NaN, "text": "NaN, \\"NaN\\" bread"}\n'
    facts, rows, bad = ingested(tmp_path, ("r.jsonl", line))
    assert (rows["stars"][0], rows["text"][0], bad.height) == (None, 'NaN, "NaN" bread', 0)
    assert odd(facts) == {("r.jsonl", "NaN in JSON"): 1}


@pytest.mark.parametrize("name", FORMATS)
def test_a_field_in_other_letters_is_ours_in_every_format(tmp_path, name):
    rows = [
        {
            "Review ID": "a",
            "USER_ID": "u",
            "businessId": "b",
            "Stars": 4,
            "Text": "x",
            "Date": "2020-01-01",
        }
    ]
    facts, read, _ = ingested(tmp_path, (name, in_formats(rows)[name]))
    assert read.select(
        "review_id",
        "user_id",
        "business_id",
        "stars",
        "text",
    ).rows() == [("a", "u", "b", 4.0, "x")]
    assert read["date"][0].year == 2020
    assert odd(facts) == {}


def test_a_field_under_our_name_comes_before_one_in_other_letters(tmp_path):
    rows = [{"text": "ours", "Text": "theirs"}, {"Text": "alone"}]
    _, read, _ = ingested(tmp_path, ("r.jsonl", json_lines(rows)))
    assert read["text"].to_list() == ["ours", "alone"]


def test_a_file_that_lacks_fields_of_the_others_is_named_with_what_it_has(tmp_path):
    full = reviews(10, stars=lambda n: 4, date=lambda n: "2023-05-01")
    renamed = [
        {
            "review_id": f"x{n}",
            "text": f"Soup {n}.",
            "rating": 4,
            "posted": "2023-05-01",
        }
        for n in range(10)
    ]
    facts, _, _ = ingested(
        tmp_path, ("full.csv", as_csv(full)), ("renamed.jsonl", json_lines(renamed))
    )
    [entry] = [one for one in Account.from_dict(facts["account"]).odd]
    assert (entry.file, entry.count) == ("renamed.jsonl", 10)
    for fact in ("stars", "date", "posted, rating", "source.fields.stars"):
        assert fact in entry.sentence


def test_plain_texts_lack_nothing_that_is_odd(tmp_path):
    facts, _, _ = ingested(tmp_path, ("a.txt", b"One review.\nAnother one.\n"))
    assert odd(facts) == {}


def with_missing(folder, kind):
    """A folder with one good file, and one that is named like reviews and is none."""
    (folder / "a.jsonl").write_bytes(json_lines(reviews(3)))
    missing = folder / "b.jsonl"
    if kind == "link":
        missing.symlink_to(folder / "nowhere.jsonl")
    elif kind == "annex":
        missing.symlink_to("../.git/annex/objects/Xx/Yy/SHA256E-s100--ab.jsonl/ab.jsonl")
    elif kind == "pipe":
        os.mkfifo(missing)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(missing))
    return folder


@pytest.mark.parametrize("glob", [False, True])
@pytest.mark.parametrize("kind", ["link", "annex", "pipe", "socket"])
def test_a_file_that_is_not_there_is_refused_or_named(
    tmp_path_factory,
    kind,
    glob,
):
    folder = with_missing(tmp_path_factory.mktemp("f"), kind)
    given = folder / "*.jsonl" if glob else folder
    with pytest.raises(Unreadable) as caught:
        find_files([given])
    assert "b.jsonl" in caught.value.where
    assert ("git annex get" in caught.value.remedy) == (kind == "annex")
    assert "source.skip_missing" in caught.value.remedy
    found = find_files([given], skip_missing=True)
    assert [path.name for path in found.names] == ["a.jsonl"]
    [entry] = found.entries
    assert (entry.outcome, entry.count, entry.odd) == (Outcome.NOT_READ, 1, True)
    assert "b.jsonl" in entry.sentence


def test_a_link_to_nothing_that_is_named_unlike_reviews_is_no_fault(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(json_lines(reviews(3)))
    (tmp_path / "latest.log").symlink_to("nowhere")
    (tmp_path / ".#a.jsonl").symlink_to("lock of an editor")
    [entry] = find_files([tmp_path]).entries
    assert (entry.outcome, entry.count, entry.odd) == (Outcome.NOT_READ, 2, False)


def test_a_link_to_nothing_named_as_input_says_where_it_points(tmp_path):
    (tmp_path / "b.jsonl").symlink_to("nowhere.jsonl")
    with pytest.raises(Unreadable, match=r"nowhere\.jsonl"):
        find_files([tmp_path / "b.jsonl"])


def test_a_link_to_a_folder_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(json_lines(reviews(3)))
    (tmp_path / "in" / "more").symlink_to(tmp_path)
    [entry] = find_files([tmp_path / "in"]).entries
    assert (entry.odd, entry.outcome) == (True, Outcome.NOT_READ)
    assert "more" in entry.sentence


def test_a_file_that_was_rewritten_with_the_same_size_at_the_same_time_is_read_again(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_bytes(json_lines(reviews(3, stars=lambda n: 1)))
    before = identify(file, file.name, tmp_path / "memory")
    times = file.stat()
    file.write_bytes(json_lines(reviews(3, stars=lambda n: 2)))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = identify(file, file.name, tmp_path / "memory")
    assert (after.bytes, after.modified) == (before.bytes, before.modified)
    assert after.sha256 != before.sha256


def test_a_column_of_large_values_beside_the_text_costs_no_review(tmp_path):
    rows = [{**row, "photo": "x" * (300_000 if n == 1 else 10)} for n, row in enumerate(reviews(5))]
    _, read, bad = ingested(tmp_path, ("photos.csv", as_csv(rows)))
    assert (read.height, bad.height) == (5, 0)
    rows[2]["photo"] = "x" * 2_000_000
    facts, read, bad = ingested(
        tmp_path, ("photos.jsonl", json_lines(rows)), max_record_bytes=1_000_000
    )
    assert (read.height, bad["reason"].to_list()) == (4, ["too_long"])
    assert "max_record_bytes" in bad["detail"][0]
    assert facts["account"]["set_aside"] == 1


def test_skipped_files_cost_no_record_of_the_others(tmp_path):
    (tmp_path / "in").mkdir()
    facts = ingest(
        [with_missing(tmp_path / "in", "link")], tmp_path / "out", SourceConfig(skip_missing=True)
    )
    assert facts["account"]["used"] == 3


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("written", ["{}/5", "{} stars", "{}.0 out of 5 stars", "{},0/5"])
def test_ratings_that_say_their_scale_of_five_are_read(
    tmp_path,
    name,
    written,
):
    content = in_formats(reviews(10, stars=lambda n: written.format(n % 5 + 1)))[name]
    _, rows, bad = ingested(tmp_path, (name, content))
    assert bad.is_empty()
    assert rows["stars"].to_list() == [n % 5 + 1 for n in range(10)]


def test_drawn_ratings_are_counted(tmp_path):
    content = as_csv(reviews(5, stars=lambda n: "★" * (n + 1) + "☆" * (4 - n)))
    assert ingested(tmp_path, ("r.csv", content))[1]["stars"].to_list() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("written", ["4/10", "80%", "★★★★★★", "4/5/2023", "stars"])
def test_ratings_of_another_scale_go_to_the_quarantine(tmp_path, written):
    content = as_csv(
        [
            *reviews(3, stars=lambda n: 3),
            {
                "review_id": "x",
                "text": "a",
                "stars": written,
            },
        ]
    )
    assert ingested(tmp_path, ("r.csv", content))[2]["reason"].to_list() == ["bad_stars"]


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r.txt", "r.json"])
def test_a_file_without_records_is_named_beside_others(tmp_path, name):
    empty = {"r.csv": b"review_id,text\n", "r.json": b"[]"}.get(name, b"")
    facts, _, _ = ingested(tmp_path, ("a.csv", as_csv(reviews())), (name, empty))
    assert odd(facts) == {(name, "no records"): 1}


def test_an_empty_part_of_many_is_counted_without_a_warning(tmp_path):
    files = [("part-0.csv", as_csv(reviews())), ("part-1.csv", b"")]
    facts, _, _ = ingested(tmp_path, *files)
    assert odd(facts) == {}
    assert Account.from_dict(facts["account"]).kinds(Outcome.NOT_READ) == {"no records": 1}


@pytest.mark.parametrize(
    ("name", "content"),
    [("b.7z", b"7z\xbc\xaf\x27\x1c\0\4"), ("c.xlsx", b"PK"), ("d.feather", b"ARROW1\0\0")],
)
def test_a_file_of_another_form_in_a_folder_is_named_with_what_it_is(
    tmp_path,
    name,
    content,
):
    (tmp_path / "a.csv").write_bytes(as_csv(reviews()))
    (tmp_path / name).write_bytes(content)
    entries = find_files([tmp_path]).entries
    assert [(entry.file, entry.kind, entry.odd) for entry in entries] == [
        (name, "other form", True)
    ]
    assert sum(entry.count for entry in entries) == 1


@pytest.mark.parametrize("name", ["r.7z", "r.rar"])
def test_a_folder_of_nothing_but_another_form_says_what_it_is(tmp_path, name):
    (tmp_path / name).write_bytes({"r.7z": b"7z\xbc\xaf\x27\x1c", "r.rar": b"Rar!\x1a\7"}[name])
    with pytest.raises(Unreadable, match="packed by"):
        find_files([tmp_path])


@pytest.mark.parametrize("name", ["dataset_infos.json", "~$r.csv"])
def test_what_programs_leave_beside_a_file_is_no_input(tmp_path, name):
    (tmp_path / "r.csv").write_bytes(as_csv(reviews()))
    (tmp_path / name).write_bytes(b"{}")
    assert [path.name for path in find_files([tmp_path]).names] == ["r.csv"]


def test_records_that_contradict_their_folder_are_counted(tmp_path):
    rows = as_csv(reviews(10, stars=lambda n: 4 if n < 7 else 3))
    facts, read, _ = ingested(tmp_path, ("stars=4/r.csv", rows))
    assert odd(facts) == {("stars=4/r.csv", "other value than the folder (stars)"): 3}
    assert read["stars"].to_list() == [4] * 7 + [3] * 3


@pytest.mark.parametrize(("bad", "shown"), [(1, False), (30, True)])
def test_many_records_in_quarantine_for_one_reason_are_odd(
    tmp_path,
    bad,
    shown,
):
    rows = reviews(200, date=lambda n: "soon" if n < bad else "2023-05-01")
    facts, _, _ = ingested(tmp_path, ("r.csv", as_csv(rows)))
    entries = Account.from_dict(facts["account"]).entries
    [entry] = [entry for entry in entries if entry.kind == "bad_date"]
    assert (entry.count, entry.odd) == (bad, shown)
    assert "source.fields.date=" in entry.remedy


@pytest.mark.parametrize("name", FORMATS)
def test_labels_counted_from_0_are_said_with_the_setting_that_shifts_them(tmp_path, name):
    rows = reviews(60, stars=lambda n: n % 5)
    content = in_formats(rows)[name]
    facts, read, _ = ingested(tmp_path, (name, content))
    assert odd(facts) == {(name, "stars from 0"): 60}
    [entry] = Account.from_dict(facts["account"]).odd
    assert "source.lowest_stars=0" in entry.remedy

    facts, read, _ = ingested(tmp_path, (name, content), lowest_stars=0, name="shifted")
    assert odd(facts) == {}
    assert read.sort("line", "review_id")["stars"].value_counts().sort("stars").rows() == [
        (rating, 12) for rating in (1, 2, 3, 4, 5)
    ]


@pytest.mark.parametrize("values", [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4], [0, 1, 2.5, 4], [0, 7]])
def test_ratings_on_other_scales_are_not_taken_for_labels(tmp_path, values):
    rows = reviews(60, stars=lambda n: values[n % len(values)])
    facts, _, _ = ingested(tmp_path, ("r.jsonl", json_lines(rows)))
    assert odd(facts) == {}


def test_dates_as_days_of_a_spreadsheet_are_read_with_an_example(tmp_path):
    rows = reviews(20, date=lambda n: 44_700 + n)
    facts, read, bad = ingested(tmp_path, ("r.csv", as_csv(rows)))
    assert bad.is_empty()
    assert f"{read['date'].min():%Y-%m-%d}" == "2022-05-19"
    assert odd(facts) == {("r.csv", "dates as days"): 20}
    [entry] = Account.from_dict(facts["account"]).odd
    assert "2022-05-19" in entry.detail


def test_a_year_of_two_digits_is_said_in_the_account(tmp_path):
    rows = reviews(20, date=lambda n: f"5/{n + 1}/21" if n else "2021-05-01")
    facts, _, bad = ingested(tmp_path, ("r.csv", as_csv(rows)))
    assert bad.height == 19
    [entry] = Account.from_dict(facts["account"]).odd
    assert "two digits" in entry.detail
