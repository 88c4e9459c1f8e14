"""Names of fields that other programs use are proposed, as a command line that reads the file when it is copied."""

import re
import shlex

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import MissingColumn
from reviewlm.corpus.account import Account
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.reading.known_names import find_known
from tests.corpus import data_sets
from tests.corpus.review_files import as_csv, json_lines

EXPORTS = {
    "Play Store": (
        {
            "reviewId": "a{}",
            "content": "Dish {}.",
            "score": 5,
            "at": "2023-05-01",
        },
        2,
    ),
    "Amazon 2014": (
        {
            "reviewerID": "A{}",
            "asin": "B1",
            "reviewText": "Dish {}.",
            "overall": 4.0,
            "unixReviewTime": 1370000000,
            "reviewTime": "05 31, 2013",
        },
        4,
    ),
    "Goodreads": (
        {
            "user_id": "u{}",
            "book_id": "7",
            "review_id": "h{}",
            "rating": 3,
            "review_text": "Dish {}.",
        },
        3,
    ),
    "Trustpilot": (
        {
            "Review Id": "t{}",
            "Review Stars": 1,
            "Review Content": "Dish {}.",
            "Reviewer Name": "An",
        },
        1,
    ),
    "TripAdvisor": ({"Review": "Dish {}.", "Rating": 5}, 1),
}
"""For each program a record of its export, and how many of stars, date, user and business it has."""


def filled(record, number):
    return {
        name: value.format(number) if isinstance(value, str) else value
        for name, value in record.items()
    }


def settings_in(remedy):
    """The settings in the command line that a remedy shows between backticks."""
    shown = re.search(r"`(--set .+?)`", remedy)
    return [word for word in shlex.split(shown[1]) if word != "--set"]


def read(
    folder,
    out,
    settings=(),
):
    facts = data_sets.ingest([folder], out, load_config("demo", list(settings)).source)
    return facts, Account.from_dict(facts["account"])


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("form", [as_csv, json_lines])
def test_the_settings_of_a_remedy_read_the_export_of_another_program(
    tmp_path,
    name,
    form,
):
    record, known = EXPORTS[name]
    folder = tmp_path / "in"
    folder.mkdir()
    ending = "csv" if form is as_csv else "jsonl"
    (folder / f"r.{ending}").write_bytes(form([filled(record, n) for n in range(9)]))
    with pytest.raises(MissingColumn) as caught:
        read(folder, tmp_path / "out")

    facts, account = read(folder, tmp_path / "out", settings_in(caught.value.remedy))
    lacking = [entry.about for entry in account.entries if entry.kind is Kind.FIELDS_MISSING]
    lost = len(lacking[0].split(",")) if lacking else 0
    assert (facts["rows"], 4 - lost) == (9, known)


def test_an_id_is_never_proposed_as_the_text(tmp_path):
    (tmp_path / "r.csv").write_bytes(as_csv([{"reviewId": "a", "review_date": "2023-05-01"}]))
    with pytest.raises(MissingColumn) as caught:
        read(tmp_path / "r.csv", tmp_path / "out")
    assert "source.fields.text=NAME" in caught.value.remedy


def test_the_likeliest_of_several_known_names_is_taken():
    columns = ["timestamp", "asin", "parent_asin", "unixReviewTime", "ids"]
    assert find_known(columns) == {"date": "unixReviewTime", "business_id": "parent_asin"}


@pytest.mark.parametrize("form", [as_csv, json_lines])
@pytest.mark.parametrize(
    ("date", "settings", "no_reviews"),
    [
        ({"date": "0000-00-00"}, (), False),
        ({"Date": ""}, (), False),
        ({"when": "0000-00-00"}, ("source.fields.date=when",), False),
        ({}, (), True),
    ],
)
def test_only_a_file_without_a_field_is_taken_for_one_without_reviews(
    tmp_path,
    form,
    date,
    settings,
    no_reviews,
):
    """A file whose dates are stand-ins holds reviews; that it may be moved away is no remedy."""
    record = {
        "review_id": "r{}",
        "text": "Dish {}.",
        "stars": 4,
    }
    name = next(iter(date), "date")
    ending = "csv" if form is as_csv else "jsonl"
    folder = tmp_path / "in"
    folder.mkdir()
    dated = [filled({**record, name: "2023-05-01"}, n) for n in range(9)]
    undated = [filled({**record, **date}, n) for n in range(9, 18)]
    (folder / f"dated.{ending}").write_bytes(form(dated))
    (folder / f"undated.{ending}").write_bytes(form(undated))
    _, account = read(folder, tmp_path / "out", settings)
    (lacking,) = [
        entry
        for entry in account.entries
        if entry.kind is Kind.FIELDS_MISSING and "date" in entry.about and entry.odd
    ]
    assert ("no reviews" in lacking.remedy) is no_reviews
    assert bool(lacking.remedy)


@pytest.mark.parametrize(
    ("ours", "theirs", "value"),
    [("stars", "rating", 3), ("date", "created_at", "2023-05-02"), ("text", "body", "Dish.")],
)
def test_a_field_that_is_renamed_on_the_way_is_named_with_the_setting_that_reads_both(
    tmp_path,
    ours,
    theirs,
    value,
):
    record = {
        "review_id": "r{}",
        "text": "Dish {}.",
        "stars": 4,
        "date": "2023-05-01",
    }
    rows = [filled(record, n) for n in range(20)]
    for row in rows[12:]:
        del row[ours]
        row[theirs] = value
    (tmp_path / "r.jsonl").write_bytes(json_lines(rows))

    _, account = read(tmp_path / "r.jsonl", tmp_path / "out")
    [entry] = [entry for entry in account.odd if entry.kind is Kind.FIELD_PARTLY_MISSING]
    assert (entry.about, entry.count) == (ours, 8)

    setting = f"source.fields.{ours}={theirs}"
    assert setting in entry.remedy
    _, account = read(tmp_path / "r.jsonl", tmp_path / "again", [setting])
    assert (account.used, [entry.kind for entry in account.odd]) == (20, [])
