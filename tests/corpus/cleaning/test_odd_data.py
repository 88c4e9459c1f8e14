"""What looks odd about prepared data: crowds of copies, ratings that contradict each other, groups and shares."""

import random

import orjson
import polars as pl
import pytest

from reviewlm.core.config.sections.data import (
    CleanConfig,
    DuplicatesConfig,
    SourceConfig,
    SplitConfig,
)
from reviewlm.core.errors import InputError
from reviewlm.corpus.account import TAKEN, Account, Outcome, entries_of
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.splitting.shares import LargestGroup, Shares
from tests.corpus.data_sets import ingest

WORDS = [f"w{number}" for number in range(3000)]


def text_of(seed, words=25):
    return " ".join(random.Random(f"text {seed}").choices(WORDS, k=words))


def record(number, **more):
    return {
        "review_id": f"r{number}",
        "text": text_of(number),
        "stars": 4,
        **more,
    }


def prepared(
    folder,
    records,
    split=SplitConfig(),
    **duplicates,
):
    (folder / "r.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in records))
    ingest([folder / "r.jsonl"], folder / "data", SourceConfig())
    config = DuplicatesConfig(**duplicates)
    facts = prepare(
        folder / "data",
        folder / "clean",
        CleanConfig(),
        split,
        duplicates=config,
    )
    return facts, pl.read_parquet(folder / "clean" / "clean.parquet")


def noted(facts, kind):
    """The entries of this kind."""
    entries = entries_of(facts["account"])
    return [entry for entry in entries if entry.kind is kind]


def template(number):
    """A form letter of forty words, two of which differ."""
    letter = text_of("letter", 38)
    return record(number, text=f"dear w{number} {letter} on day x{number}")


@pytest.mark.parametrize("share", [0.08, 0.8])
@pytest.mark.parametrize("near", [True, False], ids=["near-duplicates", "equal texts"])
def test_of_a_crowd_ten_stay_in_a_split(
    tmp_path,
    share,
    near,
):
    letters = int(share * 1500)
    crowd = [
        template(number if near else 0) | {"review_id": f"crowd {number}"}
        for number in range(letters)
    ]
    facts, frame = prepared(tmp_path, [*crowd, *map(record, range(1500 - letters))], near=near)
    kept = frame.filter(pl.col("review_id").str.starts_with("crowd"))
    assert kept.group_by("split").len().rows() == [("test", 10)]
    assert facts["duplicates"]["test"]["crowd"] > 0
    [entry] = noted(facts, Kind.CROWD)
    assert (entry.outcome, entry.count, entry.odd) == (Outcome.NOTED, letters, True)
    assert "dear w" in entry.detail, "a sample names it"
    others = frame.filter(~pl.col("review_id").str.starts_with("crowd"))
    assert others.height == 1500 - letters


def test_the_setting_says_how_many_of_a_crowd_stay(tmp_path):
    rows = [*(template(number) for number in range(400)), *map(record, range(1000, 2000))]
    facts, frame = prepared(tmp_path, rows, max_alike=0.2)
    others = frame.filter(split="test").filter(~pl.col("text").str.starts_with("dear"))
    kept = frame.filter(pl.col("text").str.starts_with("dear"))
    assert kept.height == int(0.2 * others.height)
    assert noted(facts, Kind.CROWD)


def test_few_copies_are_no_crowd(tmp_path):
    rows = [
        *(record(f"c{number}", text=text_of("c")) for number in range(10)),
        *map(record, range(400)),
    ]
    facts, _ = prepared(tmp_path, rows)
    assert not noted(facts, Kind.CROWD)
    assert sum(sides["crowd"] for sides in facts["duplicates"].values()) == 0


def test_equal_texts_with_other_ratings_are_counted_with_an_example(tmp_path):
    rows = [record(number) for number in range(400)]
    again = [record(number, review_id=f"again {number}", stars=1) for number in range(30)]
    same = [record(number, review_id=f"same {number}") for number in range(30, 40)]
    unrated = [record(number, review_id=f"none {number}", stars=None) for number in range(40, 50)]
    facts, _ = prepared(tmp_path, [*rows, *again, *same, *unrated])
    [entry] = noted(facts, Kind.OTHER_RATINGS)
    assert (entry.outcome, entry.count, entry.odd) == (Outcome.NOTED, 60, True)
    assert "1 and 4 stars" in entry.detail


def test_short_praise_with_other_ratings_is_counted_as_usual(tmp_path):
    rows = [record(number) for number in range(400)]
    praise = [record(f"p{number}", text="Great food!", stars=4 + number % 2) for number in range(4)]
    [entry] = noted(prepared(tmp_path, [*rows, *praise])[0], Kind.OTHER_RATINGS)
    assert (entry.count, entry.odd) == (4, False)


HUGE = [record(number, user_id="all" if number % 5 < 3 else f"u{number}") for number in range(1000)]


@pytest.fixture
def huge_user(tmp_path):
    """Facts and table of reviews of which one user has written most."""
    return prepared(tmp_path, HUGE, SplitConfig(by="user"))


def test_one_user_with_most_reviews_is_named(huge_user):
    facts, frame = huge_user
    [side] = frame.filter(user_id="all")["split"].unique()
    shares = Shares.from_dict(facts["grouping"]["shares"])
    assert shares.largest == LargestGroup("all", 600, 0.6, side)
    [group] = noted(facts, Kind.LARGE_GROUP)
    assert group.count == 600
    assert "'all'" in group.detail


def test_the_shares_that_were_reached_stand_beside_those_asked_for(huge_user):
    facts, frame = huge_user
    shares = Shares.from_dict(facts["grouping"]["shares"])
    assert shares.asked == pytest.approx(
        {
            "train": 0.8,
            "validation": 0.1,
            "test": 0.1,
        }
    )
    assert shares.reached == {
        name: frame.filter(split=name).height / 1000 for name in ("train", "validation", "test")
    }
    assert all(entry.odd for entry in noted(facts, Kind.FAR_FROM_SHARE))


def test_shares_as_asked_are_not_noted(tmp_path):
    rows = [record(number, user_id=f"u{number % 300}") for number in range(1000)]
    facts, _ = prepared(tmp_path, rows, SplitConfig(by="user"))
    assert facts["account"] == []


ASKED = {
    "train": 0.8,
    "validation": 0.1,
    "test": 0.1,
}


@pytest.mark.parametrize(
    ("test", "reviews", "far"),
    [
        (0.65, 1500, ["test"]),
        (0.04, 1500, ["test"]),
        (0.11, 100_000, []),
        (0.05, 60, []),  # three of sixty reviews: chance
    ],
)
def test_a_share_is_far_if_chance_does_not_explain_it(
    test,
    reviews,
    far,
):
    reached = {
        "train": 0.9 - test,
        "validation": 0.1,
        "test": test,
    }
    assert Shares(ASKED, reached, reviews).far == far


def test_shares_beyond_the_limit_are_refused(tmp_path):
    reached = {
        "train": 0.25,
        "validation": 0.1,
        "test": 0.65,
    }
    shares = Shares(ASKED, reached, 1500, LargestGroup("all", 900, 0.6, "test"))
    shares.require(0.55, "", tmp_path)
    with pytest.raises(InputError, match=r"(?s)'all'.*split\.max_deviation=0\.5[56]"):
        shares.require(0.54, "split by review", tmp_path)
    Shares({}, reached, 1500).require(0.0, "", tmp_path)


def test_the_account_says_for_each_file_how_many_of_its_reviews_are_used(tmp_path):
    """Three files: many reviews; copies of them, exact and nearly so; empty texts, foreign ones, learnt ones."""
    letter = text_of("letter", 40)
    files = {
        "a": [record(f"a{number}", text=text_of(number)) for number in range(700)],
        "b": [record(f"b{number}", text=text_of(5 * number)) for number in range(100)]
        + [record(f"b near {number}", text=f"{letter} w{number}") for number in range(30)],
        "c": [record(f"c empty {number}", text="\u200b") for number in range(4)]
        + [record(f"c learnt {number}", text=text_of(f"past {number}")) for number in range(150)]
        + [
            record(f"c long {number}", text=text_of(f"past {number}") + " x")
            for number in range(30)
        ],
    }
    past = [record(f"p{number}", text=text_of(f"past {number}")) for number in range(150)]
    (tmp_path / "past").mkdir()
    prepared(tmp_path / "past", past)
    for name, rows in files.items():
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    paths = [tmp_path / f"{name}.jsonl" for name in files]
    dataset = ingest(paths, tmp_path / "data", SourceConfig())
    facts = prepare(
        tmp_path / "data",
        tmp_path / "clean",
        CleanConfig(),
        SplitConfig(),
        duplicates=DuplicatesConfig(),
        earlier=[tmp_path / "past" / "clean"],
    )
    table = pl.read_parquet(tmp_path / "clean" / "clean.parquet")
    account = Account.from_dict(dataset["account"]).plus(entries_of(facts["account"]))
    kept = table["review_id"].str.slice(1, 1).value_counts().rows()
    assert {row["file"][0]: row["used"] for row in account.files()} == dict(kept)
    for row in account.files():
        assert row["records"] == row["used"] + sum(row[outcome.value] for outcome in TAKEN)
    taken = [entry for entry in account.entries if entry.outcome in TAKEN]
    assert all(entry.file for entry in taken)
    kinds = {entry.kind for entry in taken}
    assert len(kinds) >= 6, kinds
    assert {entry.file for entry in taken} == {"a.jsonl", "b.jsonl", "c.jsonl"}
