"""Slices: who belongs to which, what their figures are, and which of many are worse beyond luck."""

from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.evaluation.scoring.metrics import figures_of
from reviewlm.evaluation.statistics.slice_table import SLICES, review_slices, worst_slices
from reviewlm.evaluation.statistics.slices import (
    Slicing,
    length_labels,
    losses_by_slice,
    month_labels,
    ratios_by_slice,
)


@pytest.fixture(autouse=True)
def two_lengths(monkeypatch):
    monkeypatch.setattr("reviewlm.evaluation.statistics.slices.LENGTH_BINS", 2)


def scores(
    factor=1.0,
    reviews=60,
    worse_at=(),
):
    """Reviews r00 … with stars 1 to 5 in turn; those with stars of *worse_at* cost half as much again."""
    words = np.random.default_rng(2).integers(5, 60, reviews)
    stars = [1 + n % 5 for n in range(reviews)]
    luck = np.random.default_rng(3).uniform(0.9, 1.1, reviews)
    cost = luck * np.array([1.5 if each in worse_at else 1.0 for each in stars])
    return pl.DataFrame(
        {
            "review_id": [f"r{n:02d}" for n in range(reviews)],
            "stars": stars,
            "bytes": 5 * words + 1,
            "words": words,
            "tokens": words + 1,
            "oov": 0,
            "spelling_nats": 0.5,
            "nats": factor * cost * words * 4.0,
        }
    )


def of(
    table,
    model,
    dimension,
    name,
):
    return table.row(
        by_predicate=(pl.col("model") == model)
        & (pl.col("dimension") == dimension)
        & (pl.col("slice") == name),
        named=True,
    )


def sliced(
    tables,
    documents=None,
    min_reviews=5,
):
    return review_slices(
        tables,
        documents,
        "kn5",
        min_reviews=min_reviews,
        confidence=0.95,
    )[0]


def test_slices_of_stars_have_the_figures_of_their_reviews():
    rows = scores()
    table = sliced({"kn5": rows})
    assert table.schema == SLICES
    for stars in range(1, 6):
        found, own = of(table, "kn5", "stars", str(stars)), figures_of(rows.filter(stars=stars))
        assert (found["reviews"], found["tokens"], found["bytes"]) == (
            own.reviews,
            own.tokens,
            own.bytes,
        )
        assert found["open_bits_per_byte"] == pytest.approx(own.open_bits_per_byte, rel=1e-12)
        assert found["lo"] < found["open_bits_per_byte"] < found["hi"]
        assert found["excess"] == pytest.approx(
            own.open_bits_per_byte / figures_of(rows).open_bits_per_byte - 1
        )
        assert found["excess_lo"] < found["excess"] < found["excess_hi"]


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(2, 8))
def test_every_length_lies_in_the_bin_that_is_named_after_it(lengths, bins):
    labels = length_labels(pl.Series(lengths), bins)
    assert labels.n_unique() <= bins
    for length, label in zip(lengths, labels, strict=True):
        low, high = (
            [int(part) for part in label.removesuffix(" words").replace(",", "").split("–")] * 2
        )[:2]
        assert low <= length <= high


def documents(
    reviews=60,
    months=("2019-03", "2020-11"),
    categories=("Food, Bars", "Food", None),
):
    return pl.DataFrame(
        {
            "review_id": [f"r{n:02d}" for n in range(reviews)],
            "date": [datetime.strptime(months[n % len(months)], "%Y-%m") for n in range(reviews)],
            "categories": [categories[n % len(categories)] for n in range(reviews)],
        }
    )


def test_a_review_belongs_to_all_categories_of_its_business():
    table = sliced({"kn5": scores()}, documents())
    assert of(table, "kn5", "category", "Food")["reviews"] == 40
    assert of(table, "kn5", "category", "Bars")["reviews"] == 20
    assert set(table.filter(dimension="month")["slice"]) == {"2019-03", "2020-11"}


def test_small_months_are_put_together_as_years():
    months = [f"{year}-{month:02d}" for year in (2018, 2019) for month in range(1, 11)]
    table = sliced({"kn5": scores()}, documents(months=months)).filter(dimension="month")
    assert table["slice"].to_list() == ["2018", "2019"]
    assert month_labels(pl.Series([None], dtype=pl.Datetime("us")), 5).to_list() == [None]


def test_the_worst_slices_are_listed_by_two_measures():
    table = sliced({"kn5": scores(), "lstm": scores(0.7, worse_at=(2,))})
    worst = worst_slices(table, "kn5", count=2)
    for relative_to in ("whole", "baseline"):
        rows = worst.filter(model="lstm", relative_to=relative_to)
        assert rows["rank"].to_list() == [1, 2]
        assert (rows["dimension"][0], rows["slice"][0], rows["looked_at"][0]) == ("stars", "2", 7)
    assert set(worst.filter(model="kn5")["relative_to"]) == {"whole"}


def test_only_a_slice_that_is_worse_is_found():
    table = sliced({"kn5": scores(reviews=200), "lstm": scores(0.9, reviews=200, worse_at=(2,))})
    sure = table.filter("surely_worse")
    assert list(zip(sure["model"], sure["dimension"], sure["slice"], strict=True)) == [
        ("lstm", "stars", "2")
    ]


def test_a_slice_that_only_this_model_calls_impossible_is_surely_worse():
    rows = scores(reviews=200)
    impossible = rows.with_columns(nats=pl.when(stars=2).then(float("inf")).otherwise("nats"))
    table = sliced({"kn5": rows, "lstm": impossible}).filter(dimension="stars")
    assert table.filter("surely_worse").select("model", "slice").rows() == [("lstm", "2")]
    assert not sliced({"kn5": impossible, "lstm": impossible})["surely_worse"].any()


def test_among_many_equal_slices_hardly_ever_is_one_called_worse_though_single_intervals_would_call_many():
    """20 slices, no difference: by single intervals 1 − 0.975^20 = 40 % of the test sets would have a worse slice."""
    slicing = Slicing("made", tuple(map(str, range(20))), np.eye(20, dtype=bool).repeat(40, 0))
    random, together, alone = np.random.default_rng(5), 0, 0
    for _ in range(300):
        lost_N = random.normal(0, 1, 800)
        together += bool(
            (
                losses_by_slice(
                    [slicing],
                    lost_N,
                    np.ones(800),
                    None,
                    0.95,
                )["surely"]
                > 0
            ).any()
        )
        single = ratios_by_slice(
            [slicing],
            lost_N,
            np.ones(800),
            None,
            0.025,
        )
        alone += bool((single["ratio"] > single["reach"]).any())
    assert together / 300 < 0.05
    assert alone / 300 > 0.25


@pytest.mark.parametrize(("errors", "sure"), [(2.2, False), (2.5, True)])
def test_each_end_of_an_interval_has_half_of_its_error_shared_by_the_slices(errors, sure):
    """Two slices: of Student's t with 59 degrees of freedom 2.00 leaves 2.5 % above it, 2.30 half of that."""
    rows = scores().with_columns(
        words=20,
        bytes=101,
        stars=3,
        nats=pl.lit(80.0),
        spelling_nats=pl.lit(0.0),
    )
    loss = np.random.default_rng(4).normal(size=len(rows))
    # A mean of 0 with an error of 0.01 / 60.
    loss = (loss - loss.mean()) / loss.std() / np.sqrt(len(rows)) * 0.01
    worse = rows.with_columns(nats=80.0 * (1 + loss + errors * 0.01 / len(rows)))
    table = sliced({"kn5": rows, "lstm": worse}, min_reviews=60).filter(model="lstm")
    assert table["dimension"].to_list() == ["stars", "length"]
    assert table["surely_worse"].to_list() == [sure, sure]


def test_equal_slices_are_hardly_ever_called_harder():
    """Every slice draws from one distribution: 18 slices, of which about half look harder than the whole."""
    called = 0
    for seed in range(40):
        rows = scores(reviews=150)
        cost = np.random.default_rng(seed).gamma(16, 0.25, len(rows))
        table = sliced({"kn5": rows.with_columns(nats=cost * rows["bytes"])})
        called += table["surely_harder"].any()
    assert called <= 4


def test_a_hard_slice_is_called_harder():
    hard = sliced({"kn5": scores(reviews=200, worse_at=(2,))}).filter("surely_harder")
    assert list(zip(hard["dimension"], hard["slice"], strict=True)) == [("stars", "2")]
