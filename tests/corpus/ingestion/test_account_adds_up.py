"""The account of any folder of odd files adds up to the records that were written, whatever format and order."""

import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import EmptyInput
from reviewlm.corpus.account import TAKEN, Account, Outcome
from reviewlm.corpus.account_kinds import Kind
from tests.corpus import data_sets
from tests.corpus.review_files import in_formats
from tests.examples import examples

FORMATS = list(in_formats([{"text": "a"}]))
RECORDS = st.fixed_dictionaries(
    {"review_id": st.sampled_from([None, "", "a", "b", "c", "1", "2", "1.0", "1.2E+17"])},
    optional={
        "user_id": st.sampled_from([None, "", "u", "v", "None"]),
        "business_id": st.sampled_from([None, "x", "y"]),
        "stars": st.sampled_from([None, "5", "5.0", "five", "nan", "9", ""]),
        "text": st.sampled_from(
            [
                None,
                "",
                "Good soup.",
                "Good  soup.",
                "NaN",
                "Cold tea, late.",
                "A cafÃ©.",
                "<b>Hm</b>",
                "Total: 5",
            ]
        ),
        "date": st.sampled_from(
            [None, "", "2023-05-01", "0000-00-00", "NaT", "05/13/2023", "01-02-2023", "tomorrow"]
        ),
    },
)
FILES = st.lists(
    st.tuples(st.sampled_from(FORMATS), st.lists(RECORDS, min_size=1, max_size=7)),
    min_size=1,
    max_size=4,
)
NAMES = ("text", "review_id", "user_id", "business_id", "stars", "date")


def written(folder, files):
    """Write the files, one with a link to nothing beside it; return paths and the number of records of each."""
    paths = {}
    for number, (name, records) in enumerate(files):
        path = folder / f"{number}{name}"
        whole = [{key: record.get(key) for key in NAMES} for record in records]
        path.write_bytes(in_formats(whole)[name])
        paths[path] = len(records)
    return paths


def account_of(inputs, out, **settings):
    config = SourceConfig(
        max_reused_ids=1,
        max_replaced=1,
        skip_missing=True,
        **settings,
    )
    try:
        facts = data_sets.ingest(inputs, out, config)
    except EmptyInput:
        return None
    account = Account.from_dict(facts["account"])
    rows = pl.read_parquet(out / "parts")
    bad = pl.read_parquet(out / "quarantine.parquet")
    assert account.used == facts["rows"] == rows.height == rows["review_id"].n_unique()
    aside = bad.filter(pl.col("reason") != "duplicate_id").height
    assert account.count(Outcome.SET_ASIDE) == aside
    return account


@given(FILES, st.randoms(use_true_random=False), st.sampled_from(["unique", "per_file", "newest"]))
@examples(120)
def test_an_account_adds_up_to_the_records_written_in_two_orders(
    tmp_path_factory,
    files,
    draw: random.Random,
    ids,
):
    folder = tmp_path_factory.mktemp("in")
    paths = written(folder, files)
    shuffled = draw.sample(list(paths), len(paths))
    accounts = [
        account_of(inputs, folder / f"out{number}", ids=ids)
        for number, inputs in enumerate((list(paths), shuffled))
    ]
    for account in accounts:
        if account is not None:
            assert dict(account.records) == {path.name: n for path, n in paths.items()}
            assert account.read == account.used + sum(account.count(one) for one in TAKEN)
            for row in account.files():
                parts = sum(row[outcome.value] for outcome in TAKEN)
                assert row["records"] == row["used"] + parts
    first, second = accounts
    assert (first is None) == (second is None)
    if first is not None:
        assert first.used == second.used
        assert first.kinds(Outcome.SET_ASIDE) == second.kinds(Outcome.SET_ASIDE)
        assert first.kinds(Outcome.REPAIRED) == second.kinds(Outcome.REPAIRED)
        assert first.kinds(Outcome.NOTED) == second.kinds(Outcome.NOTED)


@pytest.mark.parametrize("name", FORMATS)
def test_an_account_is_the_same_in_every_format(tmp_path, name):
    records = [
        {
            "review_id": "a",
            "stars": "5",
            "text": "Good soup.",
            "date": "05/13/2023",
        },
        {
            "review_id": "b",
            "stars": "five",
            "text": "Good soup.",
            "date": "05/14/2023",
        },
        {
            "review_id": "c",
            "stars": "nan",
            "text": "Cold tea.",
            "date": "0000-00-00",
        },
        {
            "review_id": "c",
            "stars": "4",
            "text": "Cold tea.",
            "date": "01/02/2023",
        },
        {
            "review_id": "d",
            "stars": "4",
            "text": "Fine.",
            "date": "tomorrow",
        },
        {
            "review_id": "e",
            "stars": "4",
            "text": "A cafÃ© & <b>more</b>.",
            "date": "05/15/2023",
        },
    ]
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(in_formats(records)[name])
    (folder / "gone.csv").symlink_to("nowhere")
    facts = data_sets.ingest([folder], tmp_path / "out", SourceConfig(skip_missing=True))
    account = Account.from_dict(facts["account"])
    assert account.kinds(Outcome.SET_ASIDE) == {"bad_stars": 1, "bad_date": 1}
    assert account.kinds(Outcome.REPLACED) == {"same text": 1}
    assert account.kinds(Outcome.REPAIRED) == {
        "unknown value (date)": 1,
        "unknown value (stars)": 1,
    }
    assert {entry.kind for entry in account.odd} >= {Kind.MOJIBAKE, Kind.HTML_TAGS}
    assert (account.read, account.used) == (6, 3)
