"""Splits: shares, groups, months, and reviews that a model has not learnt from."""

import hashlib
import random
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.config.sections.data import CleanConfig, SourceConfig, SplitConfig
from reviewlm.core.errors import ConfigError, EmptyInput
from reviewlm.corpus.cleaning.clean import prepare
from reviewlm.corpus.schema import COLUMNS
from reviewlm.corpus.splitting.learnt import choose_unlearnt
from reviewlm.corpus.splitting.split import KEYS, SPLITS, Grouping, months_of, places
from tests.corpus.data_sets import assign, ingest
from tests.examples import examples
from tests.marked_cases import long_but

FROZEN = SplitConfig(
    by="month",
    validation_from="2018-03-01",
    test_from="2018-05-01",
)
CONFIGS = {
    "review": SplitConfig(),
    "user": SplitConfig(by="user"),
    "business": SplitConfig(by="business"),
    "month": FROZEN,
}
START = datetime(2018, 1, 1)


def record(number, **more):
    return {
        "review_id": f"r{number}",
        "text": f"review number {number} is a review of its own",
        "stars": 4,
        "user_id": f"u{number * 7 % 97}",
        "business_id": f"b{number * 5 % 41}",
        "date": (START + timedelta(hours=7 * number)).isoformat(sep=" "),
        **more,
    }


RECORDS = [record(number) for number in range(500)]  # 2018-01-01 to 2018-05-26


def dataset(folder, records, **settings):
    folder.mkdir(exist_ok=True)
    (folder / "r.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in records))
    ingest([folder / "r.jsonl"], folder / "data", SourceConfig(**settings))
    return folder / "data"


def prepared(
    folder,
    records,
    config,
    **settings,
):
    facts = prepare(dataset(folder, records, **settings), folder / "clean", CleanConfig(), config)
    return facts, pl.read_parquet(folder / "clean" / "clean.parquet")


def sides(
    reviews,
    config,
    folder=None,
):
    """The split of each review by the rule alone."""
    grouping = Grouping(config, folder)
    return [
        SPLITS[rank] for rank in grouping.ranks(reviews, places(reviews["review_id"], config.salt))
    ]


@pytest.fixture
def frozen(tmp_path):
    """Facts and table of reviews that are split at frozen months; one of them has no date."""
    return prepared(tmp_path, [*RECORDS, record(900, date=None)], FROZEN)


def test_frozen_months_split_at_their_dates(frozen):
    facts, frame = frozen
    day = pl.col("date")
    expected = frame.select(
        pl.when(day >= date(2018, 5, 1))
        .then(pl.lit("test"))
        .when(day >= date(2018, 3, 1))
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    ).to_series()
    assert frame["split"].to_list() == expected.to_list()
    assert {name: facts["grouping"][name] for name in facts["grouping"] if name != "shares"} == {
        "by": "month",
        "without_key": 1,
        "validation_from": "2018-03-01",
        "test_from": "2018-05-01",
        "dates_from_data": False,
    }


def test_rows_of_frozen_months_stand_as_in_a_shuffle(frozen):
    _, frame = frozen
    order = places(frame["review_id"], "reviewlm")
    ranks = frame["split"].replace_strict(
        {name: rank for rank, name in enumerate(SPLITS)}, return_dtype=pl.Int8
    )
    assert frame.select(ranks, order).equals(frame.select(ranks, order).sort("split", "place"))


@given(
    st.lists(st.integers(1, 40), min_size=3, max_size=15),
    st.floats(0.01, 0.49),
    st.floats(0.01, 0.49),
)
@examples(50)
def test_the_fewest_latest_months_that_reach_the_share_are_taken(
    tmp_path_factory,
    sizes,
    test,
    validation,
):
    folder = tmp_path_factory.mktemp("months")
    months = [date(2010 + index // 12, index % 12 + 1, 1) for index in range(len(sizes))]
    days = [day for day, size in zip(months, sizes, strict=True) for _ in range(size)]
    (folder / "parts").mkdir()
    table = pl.DataFrame({"date": days}, schema={"date": pl.Date}).cast(pl.Datetime("us"))
    table.write_parquet(folder / "parts" / "part-00000.parquet")
    found = months_of(
        folder,
        SplitConfig(
            by="month",
            test=test,
            validation=validation,
        ),
    )

    def share(first, last=date.max):
        return sum(first <= day < last for day in days) / len(days)

    at, before = months.index(found.test_from), months.index(found.validation_from)
    assert 1 <= before < at
    assert share(found.test_from) >= test or at == 2
    assert at == len(months) - 1 or share(months[at + 1]) < test
    assert share(found.validation_from, found.test_from) >= validation or before == 1
    assert before == at - 1 or share(months[before + 1], found.test_from) < validation
    assert found.shares == pytest.approx(
        (
            share(found.test_from),
            share(found.validation_from, found.test_from),
            share(date.min, found.validation_from),
        )
    )


@pytest.mark.parametrize(
    ("dates", "words"), [([None], "no dates"), (["2018-01-01", "2018-02-01"], "too short a time")]
)
def test_too_few_months_are_refused_with_what_else_to_do(
    tmp_path,
    dates,
    words,
):
    data = dataset(
        tmp_path, [record(number, date=dates[number % len(dates)]) for number in range(50)]
    )
    with pytest.raises(EmptyInput, match=rf"(?s){words}.*split\.by"):
        prepare(data, tmp_path / "clean", CleanConfig(), SplitConfig(by="month"))


def test_a_split_within_a_month_is_refused_with_the_date_to_take(tmp_path):
    data = dataset(tmp_path, RECORDS)
    config = SplitConfig(
        by="month",
        validation_from="2018-03-01",
        test_from="2018-04-15",
    )
    with pytest.raises(ConfigError, match=r"(?s)split\.test_from.*2018-04-15.*2018-04-01"):
        prepare(data, tmp_path / "clean", CleanConfig(), config)


reviews = st.lists(
    st.tuples(st.integers(0, 400), st.none() | st.integers(0, 9), st.none() | st.integers(0, 300)),
    max_size=40,
    unique_by=lambda row: row[0],
).map(
    lambda rows: pl.DataFrame(
        {
            "review_id": [f"r{number}" for number, _, _ in rows],
            "user_id": [None if key is None else f"u{key}" for _, key, _ in rows],
            "business_id": [None if key is None else f"b{key}" for _, key, _ in rows],
            "date": [None if day is None else START + timedelta(days=day) for _, _, day in rows],
        },
        schema={name: COLUMNS[name] for name in ("review_id", "user_id", "business_id", "date")},
    )
)


@pytest.fixture(scope="module")
def empty_data_set(tmp_path_factory):
    """The folder of a data set without reviews."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "parts").mkdir()
    pl.DataFrame(schema=COLUMNS).write_parquet(folder / "parts" / "part-00000.parquet")
    return folder


@pytest.mark.parametrize("by", list(CONFIGS))
@given(reviews, st.data())
@examples(60)
def test_more_reviews_move_none(
    empty_data_set,
    by,
    frame,
    data,
):
    whole = sides(frame, CONFIGS[by], empty_data_set)
    numbers = st.integers(0, max(0, frame.height - 1))
    chosen = data.draw(st.lists(numbers, unique=True)) if frame.height else []
    found = sides(frame[chosen], CONFIGS[by], empty_data_set)
    assert found == [whole[number] for number in chosen]


@pytest.mark.parametrize("by", list(CONFIGS))
@given(reviews)
@examples(60)
def test_no_key_stands_on_two_sides(
    empty_data_set,
    by,
    frame,
):
    whole = sides(frame, CONFIGS[by], empty_data_set)
    column = KEYS[by]
    keys = frame[column].dt.strftime("%Y-%m") if by == "month" else frame[column]
    sides_of = {(key, side) for key, side in zip(keys, whole, strict=True) if key}
    assert len(sides_of) == len({key for key, _ in sides_of})


@pytest.mark.slow
@pytest.mark.parametrize("by", long_but(CONFIGS, {"user"}))
def test_the_order_of_the_input_changes_no_byte(
    tmp_path,
    by,
    monkeypatch,
):
    monkeypatch.setattr("reviewlm.corpus.cleaning.clean_table.ROW_GROUP", 70)
    records = [record(number, text=f"text {number % 350}, as said before") for number in range(500)]
    one = prepared(tmp_path / "one", records, CONFIGS[by])
    random.Random(1).shuffle(records)
    monkeypatch.setattr("reviewlm.corpus.cleaning.clean.SLICE_BYTES", 3000)
    monkeypatch.setattr("reviewlm.corpus.cleaning.clean_batch.BATCH_ROWS", 13)
    two = prepared(tmp_path / "two", records, CONFIGS[by], part_rows=31)
    files = [(tmp_path / name / "clean" / "clean.parquet").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]
    assert two[0] == one[0]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            SplitConfig(
                by="month",
                validation_from="2030-01-01",
                test_from="2030-02-01",
            ),
            r"split\.test_from to months",
        ),
        (SplitConfig(by="user"), r"more different user_ids.*split\.by"),
    ],
    ids=["month", "user"],
)
def test_of_an_empty_split_the_error_names_the_settings_that_have_a_say(
    tmp_path,
    config,
    words,
):
    with pytest.raises(EmptyInput, match=f"(?s)has no reviews.*{words}"):
        prepared(tmp_path, [{**row, "user_id": "u1"} for row in RECORDS[:50]], config)


def test_places_are_these_numbers_for_ever():
    # printf 'reviewlm\0KU_O5udG6zpxOg-VcAEodg' | sha256sum
    assert places(pl.Series(["KU_O5udG6zpxOg-VcAEodg"]), "reviewlm").to_list() == [
        0x42612C5870D1A49A
    ]
    expected = [hashlib.sha256(b"salt\x00" + name.encode()).digest()[:8] for name in ("a", "é", "")]
    assert places(pl.Series(["a", "é", ""]), "salt").to_list() == [
        int.from_bytes(value, "big") for value in expected
    ]


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=9), unique=True, max_size=30
    ),
    st.data(),
)
@examples(100)
def test_each_review_has_one_side_that_no_other_review_changes(ids, data):
    whole = dict(zip(ids, assign(pl.Series(ids, dtype=pl.String), SplitConfig()), strict=True))
    some = data.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []
    assert assign(pl.Series(some, dtype=pl.String), SplitConfig()).to_list() == [
        whole[name] for name in some
    ]
    assert set(whole.values()) <= set(SPLITS)


def table_of(folder: Path, **splits: dict[str, str]) -> Path:
    """Write a prepared table of reviews, id to text, by split."""
    rows = [
        (review, text, split)
        for split, reviews in splits.items()
        for review, text in reviews.items()
    ]
    folder.mkdir()
    frame = pl.DataFrame(rows, ["review_id", "text", "split"], orient="row")
    frame.with_columns(stars=3, bytes=pl.col("text").str.len_bytes() + 1).write_parquet(
        folder / "clean.parquet"
    )
    return folder


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    tests = {f"t{number}": f"test review {number}" for number in range(6)}
    return table_of(tmp_path / "earlier", test=tests, train={"a": "learnt by the champion"})


def test_reviews_that_were_learnt_are_left_out_also_if_only_their_text_was(
    earlier: Path, tmp_path: Path
) -> None:
    now = table_of(
        tmp_path / "now",
        test={"t0": "test review 0"},
        validation={"t1": "rewritten"},
        train={
            "x": "test review 2",
            "t3": "test review 3",
            "y": "Test review 4",
        },
    )
    found = choose_unlearnt(earlier, [now], 100, 1)
    assert found.reviews["review_id"].to_list() == ["t0", "t4", "t5"], (
        "in the order of the table; case makes a text"
    )
    assert (found.tests, found.learnt_ids, found.learnt_texts) == (6, 2, 1)


@pytest.fixture
def drawn_ids(earlier: Path, tmp_path: Path) -> Callable[[int], list[str]]:
    """Return a function that draws three reviews with a seed."""
    now = table_of(tmp_path / "now", train={"t0": "?"})

    def draw(seed: int) -> list[str]:
        return choose_unlearnt(earlier, [now], 3, seed).reviews["review_id"].to_list()

    return draw


def test_of_many_reviews_so_many_are_drawn(drawn_ids: Callable[[int], list[str]]) -> None:
    for seed in range(20):
        ids = drawn_ids(seed)
        assert len(set(ids)) == 3
        assert ids == sorted(ids)
        assert "t0" not in ids


def test_the_seed_decides_which_reviews_are_drawn(drawn_ids: Callable[[int], list[str]]) -> None:
    drawn = [drawn_ids(seed) for seed in range(20)]
    assert drawn[0] == drawn_ids(0)
    assert len({tuple(ids) for ids in drawn}) > 3
